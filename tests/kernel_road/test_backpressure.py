"""A reader that stops reading makes its writer wait, or ends the connection; nothing that was
written is lost, and nobody can fill the kernel's memory.

Seen to fail: with the comparisons to ``credit`` left out of bpf/request.c and bpf/redirect.c,
requests with content and answers on the redirect way. The tcp way's bounds are the kernel's own.
"""

from __future__ import annotations

import contextlib
import random
import re
import select
import socket
import threading
from collections.abc import Iterable, Iterator

import pytest

from l7proxy.demo.places import Place
from tests.datapath.covered import PATIENCE
from tests.datapath.test_backpressure import BOUND, FAR_TOO_MUCH
from tests.kernel_road.answers import Answers
from tests.kernel_road.recorder import Request, plain
from tests.kernel_road.town import AGENT, PORT, WAYS, Town

pytestmark = pytest.mark.needs_ebpf

BLOCK = random.Random(3).randbytes(1 << 20)
STUCK = 0.3
"""Seconds for which a socket stays unwritable that is not going to be writable."""


def fill(writer: socket.socket, pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Sends until the socket stays unwritable or its connection ends: what it took, and what is
    left of the piece that it did not take whole."""
    sent = bytearray()
    writer.setblocking(False)
    try:
        for piece in pieces:
            data = memoryview(piece)
            while data:
                try:
                    size = writer.send(data)
                except BlockingIOError:
                    if not select.select([], [writer], [], STUCK)[1]:
                        return bytes(sent), bytes(data)
                    continue
                except (ConnectionError, PermissionError):  # the latter before the reset
                    return bytes(sent), b""
                sent += data[:size]
                data = data[size:]
            if len(sent) > FAR_TOO_MUCH:
                break
    finally:
        writer.settimeout(PATIENCE)
    return bytes(sent), b""


def memory(place: Place) -> int:
    """The most that the kernel holds for a socket of the connection at that end, in bytes."""
    ends = f"sport = :{PORT} or dport = :{PORT}"
    shown = place.run(["ss", "-tmnH", "state", "connected", ends]).stdout
    return max((int(size) for size in re.findall(r"skmem:\(r(\d+)", shown)), default=0)


def head(method: str, target: str, *fields: str) -> bytes:
    lines = (f"{method} {target} HTTP/1.1", "Host: x", f"User-Agent: {AGENT}", *fields, "", "")
    return "\r\n".join(lines).encode()


def chunks(size: int) -> Iterator[bytes]:
    """Without end, each with other content."""
    while True:
        for at in range(0, len(BLOCK) - size, size):
            yield b"%x\r\n%b\r\n" % (size, BLOCK[at : at + size])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [100, 60_000, 700_000])
def test_upload_to_a_server_that_stops(town: Town, way: str, size: int) -> None:
    with town.recorder() as server, town.connect(way) as sock:
        server.reading.clear()
        sock.sendall(head("PUT", "/ok-1", "Transfer-Encoding: chunked"))
        sent, left = fill(sock, chunks(size))
        assert 0 < len(sent) < BOUND
        assert memory(town.server) < BOUND
        server.reading.set()
        sock.sendall(left + b"0\r\n\r\n")
        assert Answers(sock).next().status == 200
        (request,) = server.requests(1)
        assert server.records[0].data.partition(b"\r\n\r\n")[2] == sent + left + b"0\r\n\r\n"
    assert len(request.body) > size


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1000, 60_000, 700_000])
def test_answer_to_a_client_that_stops(town: Town, way: str, size: int) -> None:
    sent, left = b"", b""

    def answer(request: Request) -> Iterable[bytes]:
        nonlocal sent, left
        sock = server.records[0].sock
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent, left = fill(sock, chunks(size))
        held.append(memory(place))
        stopped.set()
        return [left, b"0\r\n\r\n"]

    stopped = threading.Event()
    held: list[int] = []
    place = town.place(way)
    with town.recorder(answer) as server, town.connect(way) as sock:
        sock.sendall(head("GET", "/ok-1"))
        assert stopped.wait(PATIENCE)
        assert 0 < len(sent) < BOUND
        assert held[0] < BOUND
        body = Answers(sock).next().body
        framed = sent + left
        for at in range(0, len(body), size):
            piece = b"%x\r\n%b\r\n" % (size, body[at : at + size])
            assert framed.startswith(piece)
            framed = framed[len(piece) :]
        assert not framed


def requests(size: int) -> Iterator[bytes]:
    """Without end, each with its number and content of that size."""
    number = 0
    while True:
        number += 1
        fields = [f"Content-Length: {size}"] if size else []
        yield head("PUT", f"/ok-{number}", *fields) + BLOCK[:size]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0, 1000, 60_000, 700_000])
def test_pipeline_to_a_server_that_stops(town: Town, way: str, size: int) -> None:
    """Whole requests, which are redirected. So many may wait for answers; then the connection
    ends, and what came before arrives nevertheless."""
    with town.recorder() as server, town.connect(way) as sock:
        server.reading.clear()
        sent, left = fill(sock, requests(size))
        assert 0 < len(sent) < FAR_TOO_MUCH
        assert memory(town.server) < BOUND
        server.reading.set()
        with contextlib.suppress(OSError):
            sock.sendall(left)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
        (record,) = server.ended(1)
    assert (sent + left).startswith(record.data)
    assert record.requests
    numbers = [int(request.target.removeprefix("/ok-")) for request in record.requests]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("way", WAYS)
def test_pipeline_that_waits_arrives_whole(town: Town, way: str) -> None:
    """As many requests as may wait for answers, more content than the credit."""
    number = 100
    pipeline = requests(60_000)
    with town.recorder() as server, town.connect(way) as sock:
        server.reading.clear()
        wanted = [next(pipeline) for _ in range(number)]
        sent, left = fill(sock, wanted)
        assert len(sent) < BOUND
        server.reading.set()
        sock.sendall(left + b"".join(wanted)[len(sent + left) :])
        answers = Answers(sock)
        for each in range(1, number + 1):
            assert answers.next().body == b"/ok-%d\n" % each
        assert all(request.body == BLOCK[:60_000] for request in server.requests(number))


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_client_that_reads_no_answers(town: Town, way: str, allowed: bool) -> None:
    """Answers that the kernel makes itself take memory as well."""
    target = "/ok-" + "1" * 200 if allowed else "/no"
    request = head("GET", target)
    with town.recorder(plain), town.connect(way) as sock:
        fill(sock, (request for _ in range(300_000)))
        assert memory(town.place(way)) < BOUND
