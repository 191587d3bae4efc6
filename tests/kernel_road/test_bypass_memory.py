"""What is judged is what the server reads, whose memory ever it was sent from.

Seen to fail: with ``SK_PASS`` in the place of ``refuse()`` in bpf/arrival.c the requests that are
not rewritten; without ``own_bytes`` in bpf/walk.h the pages that are rewritten. That the kernel
copies what is sent with MSG_ZEROCOPY when it is received is its own doing, and only held to here.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from tests.datapath.covered import accepted
from tests.datapath.scripts import until
from tests.kernel_road.recorder import Record, Recorder
from tests.kernel_road.test_bypass import ALLOWED, DENIED, arrived, tried
from tests.kernel_road.town import PORT, WAYS, Town, get

pytestmark = pytest.mark.needs_ebpf

REQUEST = len(get(DENIED))
HOW = ("sendfile", "splice", "vmsplice")


@pytest.mark.parametrize("way", WAYS)
def test_zero_copy(town: Town, way: str) -> None:
    """The memory becomes the denied request as soon as send() has returned."""
    rounds = 50
    with (
        town.recorder() as server,
        town.attack(way, "zero_copy", parcel=DENIED, rounds=rounds) as attack,
    ):
        assert attack.result() == rounds
        records = server.ended(rounds)
    assert sum(len(record.requests) for record in records) == rounds
    assert not arrived(records, DENIED)


@contextlib.contextmanager
def sent_from_pages(town: Town, way: str, parcel: str, how: str) -> Iterator[Recorder]:
    """The server begins to read when the pages that were sent have become the parcel."""
    with (
        town.recorder() as server,
        town.attack(way, "from_pages", parcel=parcel, how=how) as attack,
    ):
        server.reading.clear()
        attack.says("connected")
        server.wait(len, "a connection")  # what comes before is judged when it is read
        attack.go()
        attack.says("sent")
        if way == "tcp":
            until(lambda: town.unread() >= REQUEST or server.records[0].ended)
        attack.go()
        attack.says("rewritten")
        server.reading.set()
        attack.result()
        yield server


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", HOW)
def test_pages_that_are_rewritten(town: Town, way: str, how: str) -> None:
    with sent_from_pages(town, way, DENIED, how) as server:
        records = server.ended(1)
    assert not arrived(records, DENIED)
    assert len(records[0].requests) <= 1  # none if the pages changed before they were judged


def held(town: Town, how: str, parcel: str) -> list[Record]:
    """The SYN is dropped until the server accepts: its queue is full with another connection."""
    with (
        town.recorder(backlog=0, accepting=False) as server,
        town.connect("tcp"),
        town.attack("redirect", "while_connecting", parcel=parcel, how=how) as attack,
    ):
        attack.says("sending")
        server.reading.clear()
        server.accepting.set()
        attack.says("sent")
        server.wait(lambda records: len(records) == 2)
        attack.go()
        attack.says("rewritten")
        server.reading.set()
        attack.result()
    return server.records


def test_send_while_connecting(town: Town) -> None:
    """The kernel sends what waited by plain TCP, and no program of the client's sees it."""
    for parcel in (ALLOWED, DENIED):
        assert arrived(held(town, "send", parcel), parcel) == (parcel == ALLOWED)


@pytest.mark.parametrize("how", HOW)
def test_pages_that_are_sent_while_connecting_and_rewritten(town: Town, how: str) -> None:
    """So a covered client's own pages get to the server's socket too."""
    for _ in range(3):
        records = held(town, how, DENIED)
        assert any(record.has_request(b"/ok-body") for record in records)
        assert not arrived(records, DENIED)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("operation", ["send", "worker", "zero-copy"])
def test_io_uring(town: Town, way: str, operation: str) -> None:
    """Without copying it cannot send on a socket that has a program."""
    if (way, operation) == ("redirect", "zero-copy"):
        with town.recorder(), town.attack(way, "by_ring", parcel=DENIED, operation=operation) as a:
            assert a.result() == "refused"
    else:
        tried(town, way, "by_ring", operation=operation)


@pytest.mark.parametrize("way", ["redirect"])
def test_server_that_splices(town: Town, way: str) -> None:
    """What came before accept() was judged too before splice() takes it from the socket.

    Not so what comes by TCP: a named limit, see ARCHITECTURE.md; such servers opt out.
    """
    for parcel in (ALLOWED, DENIED):
        with (
            town.server.listen(town.server.ip, PORT) as listener,
            town.attack(way, "early", parcel=parcel) as attack,
        ):
            attack.says("sent")
            with accepted(listener) as sock:
                found = spliced_out(sock)
        assert parcel == ALLOWED or b"\r\n\r\n" not in found


def spliced_out(sock: socket.socket) -> bytes:
    """What splice() finds in the socket; it never waits here."""
    source, sink = os.pipe()
    try:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            os.splice(sock.fileno(), sink, 4096, flags=os.SPLICE_F_NONBLOCK)
        os.set_blocking(source, False)
        with contextlib.suppress(BlockingIOError):
            return os.read(source, 4096)
        return b""
    finally:
        os.close(source)
        os.close(sink)
