"""A refusal by TCP is written in the place of the bytes that it refuses, and what the kernel counts
as read comes out even: nobody sees more than the answer, and nothing that comes later is missed.

Seen to fail: with the sk_buff cut by ``bpf_skb_change_tail`` to the size of the answer in
``put_answer`` of bpf/bounce.h, or to what is allowed in the place of ``blank_out``, the server is
woken for nothing; with 20 bytes more than it had, it does not notice the end. Without ``catch_up``
in bpf/arrival.c, the tcp way's refusal behind an answer that was sent in parts.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

import pytest

from l7proxy.http.in_place import filled
from l7proxy.reasons import Reason
from tests.datapath.covered import PATIENCE, accepted
from tests.kernel_road.answers import Answers
from tests.kernel_road.recorder import Request, plain
from tests.kernel_road.test_order_shapes import large, push
from tests.kernel_road.town import PORT, WAYS, Town, get

pytestmark = pytest.mark.needs_ebpf

REFUSAL = 403, b"Access denied\r\n"
WHILE = 0.3
"""Seconds in which a socket that is always readable is found to be so."""


def sized(size: int) -> bytes:
    """A refused request of so many bytes; the smallest has to do without a Host."""
    if size < 30:
        return b"GET /%b HTTP/1.0\r\n\r\n" % (b"n" * (size - 18))
    return b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"n" * (size - 27))


@pytest.mark.parametrize("size", [20, 40, 60, 100, 150, 1500, 3000])
def test_answer_has_the_size_of_its_request(town: Town, size: int) -> None:
    """It goes without its content, or its phrase, rather than without saying whether the connection
    goes on; only to HTTP/1.0 the end of the connection says it."""
    goes_on = size > 20
    request = sized(size)
    assert len(request) == size
    wanted = filled(Reason.NO_RULE_MATCHED, size, keep_alive=goes_on, head=False)
    with town.recorder() as server, town.connect("tcp") as sock:
        for number in range(3 if goes_on else 1):
            sock.sendall(request)
            assert sock.recv(2 * size, socket.MSG_PEEK) == wanted
            answers = Answers(sock)
            assert answers.next().said in (REFUSAL, (403, b""))
            assert answers.is_last != goes_on
            if goes_on:
                sock.sendall(get(f"/ok-{number}"))
                assert answers.next().said == (200, b"/ok-%d\n" % number)
    assert server.records[0].is_only(get(f"/ok-{each}") for each in range(3) if goes_on)


@contextlib.contextmanager
def ends(town: Town, way: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's end of a connection, and the server's as an event loop has it."""
    with (
        town.server.listen(town.server.ip, PORT) as listener,
        town.connect(way) as client,
        accepted(listener) as server,
    ):
        server.setblocking(False)
        yield client, server


def read(server: socket.socket) -> bytes:
    """What comes next."""
    assert select.select([server], [], [], PATIENCE)[0]
    return server.recv(65536)


def woken_for_nothing(server: socket.socket) -> int:
    """How often it is readable and has nothing to read; more than a few times is for ever."""
    found = 0
    end = time.monotonic() + WHILE
    with select.epoll() as poll:
        poll.register(server, select.EPOLLIN)
        while found < 10 and poll.poll(max(end - time.monotonic(), 0)):
            try:
                if not server.recv(65536):
                    break  # that stays readable
            except BlockingIOError:
                found += 1
            except ConnectionError:
                break
    return found


HALVES = [get("/no")[:40], get("/no")[40:]]
SENT = {
    "first": [get("/no")],
    "behind an answered one": [get("/ok-1"), get("/no")],
    "in one segment with an allowed one": [get("/ok-1") + get("/no")],
    "in halves": HALVES,
    "in halves behind an answered one": [get("/ok-1"), *HALVES],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("parts", SENT.values(), ids=SENT)
def test_server_is_not_woken_for_nothing(town: Town, way: str, parts: Sequence[bytes]) -> None:
    """Each part is sent when the one before it was read, or answered."""
    with ends(town, way) as (client, server):
        answers = Answers(client)
        for part in parts:
            client.sendall(part)
            if part.startswith(get("/ok-1")):
                assert read(server).startswith(get("/ok-1"))
                server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                assert answers.next().said == (200, b"ok")
            elif part == HALVES[0]:
                assert read(server) == part
        assert answers.next().said[0] == 403
        assert woken_for_nothing(server) <= 2
        if not answers.is_last:
            client.sendall(get("/ok-2"))
            assert read(server) == get("/ok-2")


PIECES = {"head in halves": HALVES, "no HTTP": [b"\x16\x03"]}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("more", [0, 1, 2])
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_server_notices_the_end(town: Town, way: str, pieces: Sequence[bytes], more: int) -> None:
    """Of a connection that the agent has reset; before it, more comes that nobody wants."""
    with ends(town, way) as (client, server), select.epoll() as poll:
        client.sendall(pieces[0])
        if pieces[1:]:
            assert read(server) == pieces[0]
            client.sendall(pieces[1])
        for _ in range(more):
            with contextlib.suppress(OSError):
                client.sendall(b"more")
        poll.register(server, 0)  # an error is told all the same
        assert poll.poll(PATIENCE)
        with pytest.raises((ConnectionAbortedError, ConnectionResetError)):
            server.recv(65536)
        assert server.recv(65536) == b""


@pytest.mark.parametrize("way", WAYS)
def test_refusal_behind_an_answer_that_was_sent_in_parts(town: Town, way: str) -> None:
    """One send() of a non-blocking server's that the kernel cuts short, whose rest goes by unseen:
    where the answer ends is known by its bytes alone."""
    full = threading.Event()

    def answer(request: Request) -> Iterable[bytes]:
        if request.target != "/ok-large":
            return plain(request)
        push(recorder, [large(request)], full)
        return []

    with town.recorder(answer) as recorder, town.connect(way) as sock:
        answers = Answers(sock)
        sock.sendall(get("/ok-large"))
        assert full.wait(PATIENCE)
        assert answers.next().status == 200
        for _ in range(3):
            sock.sendall(get("/no"))
            assert answers.next().said == REFUSAL
            sock.sendall(get("/ok-2"))
            assert answers.next().said == (200, b"/ok-2\n")
