"""Whatever an answer looks like, a refusal comes behind its end, or not at all.

Seen to fail: with ``ENTRY_ANSWER`` for every request in bpf/judge.h the answers to HEAD; with
``PHASE_BOUNDARY`` for ``PHASE_PASSING`` in bpf/response.c those that end with the connection.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from tests.datapath.covered import PATIENCE
from tests.kernel_road.answers import Answers
from tests.kernel_road.recorder import Recorder, Request, plain
from tests.kernel_road.test_order import REFUSAL
from tests.kernel_road.town import GRACE, WAYS, Town, get

pytestmark = pytest.mark.needs_ebpf

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Shape:
    """An answer, and what a client understands of it."""

    wire: bytes
    status: int = 200
    body: bytes = b""
    ahead: tuple[int, ...] = ()
    method: str = "GET"
    trailers: bytes = b""


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SHAPES = {
    "length": Shape(OK + b"Content-Length: 5\r\n\r\nhello", body=b"hello"),
    "no content": Shape(OK + b"Content-Length: 0\r\n\r\n"),
    "content like an answer": Shape(
        OK + b"Content-Length: 38\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        body=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ),
    "chunks": Shape(CHUNKED + b"5\r\nhello\r\n06;x=y\r\n there\r\n0\r\n\r\n", body=b"hello there"),
    "no chunks": Shape(CHUNKED + b"0\r\n\r\n"),
    "trailers": Shape(
        CHUNKED + b"1\r\na\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
        body=b"a",
        trailers=b"X-Sum: 1\r\nX-More: 2\r\n",
    ),
    "answer to HEAD": Shape(OK + b"Content-Length: 500\r\n\r\n", method="HEAD"),
    "chunked answer to HEAD": Shape(CHUNKED, method="HEAD"),
    "204": Shape(b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    "304": Shape(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304),
    "100 first": Shape(
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok",
        body=b"ok",
        ahead=(100,),
    ),
    "two 103 first": Shape(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2 + OK + b"Content-Length: 1\r\n\r\na",
        body=b"a",
        ahead=(103, 103),
    ),
    "HTTP/1.0 with a length": Shape(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", body=b"a"),
    "no reason phrase": Shape(b"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\na", body=b"a"),
}


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_refusal_behind_an_answer(town: Town, way: str, size: int, shape: Shape) -> None:
    """A refused request waits while the server sends a piece at a time."""
    begin = threading.Event()

    def shaped(request: Request) -> Iterable[bytes]:
        return cut(shape.wire, size) if begin.wait(PATIENCE) else []

    with town.recorder(shaped) as recorder, town.connect(way) as sock:
        sock.sendall(get("/ok-1", shape.method))
        recorder.requests(1)
        sock.sendall(get("/no") + get("/no"))
        begin.set()
        answers = Answers(sock)
        first = answers.next(shape.method)
        found = answers.until_refused(2)
    assert (first.status, first.body, first.ahead) == (shape.status, shape.body, shape.ahead)
    assert first.trailers == shape.trailers
    assert found == [REFUSAL] * (2 if way == "redirect" else 1)


@pytest.mark.parametrize("way", WAYS)
def test_shapes_one_after_another(town: Town, way: str) -> None:
    """All in one pipeline, answered in one send(), with a refused request behind them."""
    shapes = list(SHAPES.values())
    arrived = threading.Event()
    ready: list[bytes] = []

    def shaped(request: Request) -> Iterable[bytes]:
        ready.append(shapes[len(ready)].wire)
        return [b"".join(ready)] if len(ready) == len(shapes) and arrived.wait(PATIENCE) else []

    with town.recorder(shaped) as recorder, town.connect(way) as sock:
        sock.sendall(b"".join(get("/ok-1", shape.method) for shape in shapes))
        recorder.requests(len(shapes))
        sock.sendall(get("/no"))
        arrived.set()
        answers = Answers(sock)
        for shape in shapes:
            found = answers.next(shape.method)
            assert (found.status, found.body, found.ahead) == (
                shape.status,
                shape.body,
                shape.ahead,
            )
        assert answers.until_refused(1) == [REFUSAL]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("together", [True, False])
def test_answer_until_the_end(town: Town, way: str, together: bool) -> None:
    """Behind it there is no place for a refusal: its content is exactly the server's."""
    content = b"until the end " * 1000
    begin = threading.Event()

    def ending(request: Request) -> Iterable[bytes]:
        yield OK + b"Connection: close\r\n\r\n" + content[:100]
        begin.wait(PATIENCE)
        yield content[100:]
        recorder.records[0].sock.shutdown(socket.SHUT_WR)

    with town.recorder(ending) as recorder, town.connect(way) as sock:
        sock.sendall(get("/ok-1") + get("/no") * together)
        recorder.requests(1)
        if not together:
            with contextlib.suppress(OSError):
                sock.sendall(get("/no"))
        begin.set()
        assert Answers(sock).next().body == content


def large(request: Request, size: int = 10 * MEBIBYTE) -> bytes:
    body = request.target.encode() * (size // len(request.target))
    return OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("waits", [True, False], ids=["blocking server", "non-blocking server"])
@pytest.mark.parametrize("late", [True, False], ids=["after", "meanwhile"])
def test_refusal_behind_a_large_answer(town: Town, way: str, waits: bool, late: bool) -> None:
    """The client begins to read when the server's buffers are full. A non-blocking server's send()
    is cut short then, and neither the rest nor what follows at once is shown to its program."""
    full = threading.Event()

    def answer(request: Request) -> Iterable[bytes]:
        if request.target != "/ok-large":
            return plain(request)
        pieces = cut(large(request), 300_000)
        if waits:
            return marking(pieces, full)
        push(recorder, pieces, full)
        return []

    with town.recorder(answer) as recorder, town.connect(way) as sock:
        sock.sendall(get("/ok-large"))
        assert full.wait(PATIENCE)
        if not late:
            sock.sendall(get("/no"))
        answers = Answers(sock)
        first = answers.next()
        assert first.body == b"/ok-large" * (len(first.body) // 9)
        if late:
            sock.sendall(get("/no"))
        found = answers.until_refused(1)
        if not late and not found:
            return  # a full send buffer had no room for it
        assert found == [REFUSAL]
        sock.sendall(get("/ok-2") + get("/no"))
        assert answers.until_refused(2) == [(200, b"/ok-2\n"), REFUSAL]


@pytest.mark.parametrize("way", WAYS)
def test_refusal_cuts_off_no_answer_ahead_of_it(town: Town, way: str) -> None:
    """The client takes longer to read what is owed than a refused one is given."""

    def answer(request: Request) -> Iterable[bytes]:
        return [large(request)]

    with town.recorder(answer) as recorder, town.connect(way) as sock:
        sock.sendall(get("/ok-large") + get("/no"))
        recorder.requests(1)
        left = len(large(recorder.requests(1)[0]))
        end = time.monotonic() + 3 * GRACE
        while left:
            data = sock.recv(min(left, 65536))
            assert data, f"{left} bytes of the answer are missing"
            left -= len(data)
            if time.monotonic() < end:
                time.sleep(GRACE / 10)


def marking(pieces: list[bytes], full: threading.Event) -> Iterable[bytes]:
    """Says when the first was sent: soon the server waits in send()."""
    for piece in pieces:
        yield piece
        full.set()


def push(recorder: Recorder, pieces: list[bytes], full: threading.Event) -> None:
    """As a server with an event loop: sends until send() would wait, and goes on when it may."""
    sock = recorder.records[0].sock
    sock.setblocking(False)
    for piece in pieces:
        data = memoryview(piece)
        while data:
            try:
                data = data[sock.send(data) :]
            except BlockingIOError:
                full.set()
                assert select.select([], [sock], [], PATIENCE)[1]
    sock.setblocking(True)
