"""Segments that begin with bytes of segments before them. TCP queues them as they are; what reads
the queue has to skip what it has had, and a program at the socket is given all of it.

Seen to fail: before bpf/overlap.h was, for every ``known`` but 0.
"""

from __future__ import annotations

import socket

import pytest

from tests.datapath.covered import accepted, received
from tests.kernel_road.answers import Answers
from tests.kernel_road.test_in_place import ends, read, woken_for_nothing
from tests.kernel_road.town import PORT, Town, get
from tests.support.segments import send_ahead

pytestmark = pytest.mark.needs_ebpf

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NO_REDIRECT = 2
"""Nothing is short-circuited to somebody who wants so many bytes and more before he is woken."""
BEGIN, REST = get("/ok-1")[:40], get("/ok-1")[40:]


@pytest.mark.parametrize("known", [0, 1, 40])
def test_request_is_read_once(town: Town, known: int) -> None:
    """Whatever the client's kernel sends again afterwards is old, but for the next request."""
    with ends(town, "tcp") as (client, server):
        client.sendall(BEGIN)
        assert read(server) == BEGIN
        send_ahead(town.far, client, BEGIN[40 - known :], REST)
        assert read(server) == REST
        client.sendall(REST + get("/ok-2"))
        assert read(server) == get("/ok-2")
        server.sendall(2 * OK)
        answers = Answers(client)
        assert [answers.next().said for _ in range(2)] == [(200, b"ok")] * 2


@pytest.mark.parametrize("known", [0, 1, 40])
def test_refused_request_is_answered_once(town: Town, known: int) -> None:
    begin, rest = get("/no")[:40], get("/no")[40:]
    with ends(town, "tcp") as (client, server):
        client.sendall(begin)
        assert read(server) == begin
        send_ahead(town.far, client, begin[40 - known :], rest)
        client.sendall(rest)
        assert Answers(client).next().status == 403
        assert woken_for_nothing(server) <= 2


def test_large_content_is_read_once(town: Town) -> None:
    """More known bytes than one call of the kernel takes away: over loopback, where segments may be
    that large."""
    content = b"0123456789" * 2000
    head = get("/ok-1", "POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 20000\r\n\r\n")
    begin, rest = head + content[:9000], content[9000:]
    with (
        town.server.listen(town.server.ip, PORT) as listener,
        town.server.connect(town.server.ip, PORT) as client,
        accepted(listener) as server,
    ):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, NO_REDIRECT)
        client.sendall(begin)
        assert received(server, len(begin)) == begin
        send_ahead(town.server, client, begin[-9000:], rest[:1000])
        client.sendall(rest + get("/ok-2"))
        assert received(server, len(rest + get("/ok-2"))) == rest + get("/ok-2")


def test_near_client_reads_an_answer_once(town: Town) -> None:
    with ends(town, "redirect") as (client, server):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, NO_REDIRECT)
        with town.covered.counted() as risen:
            client.sendall(get("/ok-1"))
            assert read(server) == get("/ok-1")
            server.sendall(OK[:20])
            assert received(client, 20) == OK[:20]
            send_ahead(town.server, server, OK[5:20], OK[20:])
            server.sendall(OK[20:])
            client.sendall(get("/ok-2"))
            assert read(server) == get("/ok-2")
            server.sendall(OK)
            assert received(client, len(OK[20:] + OK)) == OK[20:] + OK
        assert risen["overlaps_cut"] == 1
