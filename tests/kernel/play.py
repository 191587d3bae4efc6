"""One connection: the pieces are sent as a case says, and everything that comes of it is kept."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from tests.kernel.choices import Kind, Step
from tests.kernel.compare import EOF, HANG, RESET, Message, Seen
from tests.kernel.differences import Way
from tests.kernel.recorder import Record, Server
from tests.kernel.stream import Garbled, split

PATIENCE = 6.0
"""Seconds after which a connection on which nothing happens has failed."""

_FULL = 0.5
"""Seconds after which a server that cannot send has filled every buffer."""

_SIOCOUTQNSD = 0x894B  # bytes in the send queue that have not been sent
_AT_ONCE = 1 << 18


class Conduct(Enum):
    """LOCKSTEP: each piece waits for the answers to what is before it. HELD: the server answers
    nothing before all is sent. FREE: nobody waits for anybody. HASTY: as FREE, and the client
    closes its direction at once instead of waiting for the answers. UNREAD: each piece waits until
    the server has answered what is before it, and the client reads nothing before all is sent."""

    LOCKSTEP = "lockstep"
    HELD = "held"
    FREE = "free"
    HASTY = "hasty"
    UNREAD = "unread"


@dataclass(frozen=True)
class Road:
    """How a connection of one kind is made, and who records it. ``way``: None where it is MIXED
    unless every message is whole."""

    name: str
    connect: Callable[[], socket.socket]
    server: Server
    way: Way | None = None


class _Client:
    """The client's end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""
        self.end = ""
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)

    def send(self, piece: bytes) -> bool:
        """Sends a piece as a message and as a segment of its own; False where the connection is
        at its end."""
        deadline = time.monotonic() + PATIENCE
        while piece:
            try:
                piece = piece[self.sock.send(piece) :]
            except BlockingIOError:
                self._take(0.01)
            except OSError:
                return False
            if time.monotonic() > deadline:
                self.end = HANG
                return False
        while self._unsent() and time.monotonic() < deadline:
            os.sched_yield()
        return True

    def half_close(self) -> None:
        """Closes the client's direction; what it has received by then is still there to read."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def read_until(self, done: Callable[[bytes], bool]) -> None:
        """Reads until ``done``, or the end."""
        deadline = time.monotonic() + PATIENCE
        while not self.end and not done(self.received):
            left = deadline - time.monotonic()
            if left <= 0:
                self.end = HANG
                return
            self._take(left)

    def _take(self, seconds: float) -> None:
        if not self._poll.poll(seconds * 1000):
            return
        try:
            data = self.sock.recv(_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            self.end = RESET
            return
        if data:
            self.received += data
        else:
            self.end = EOF

    def _unsent(self) -> int:
        try:
            packed = fcntl.ioctl(self.sock, _SIOCOUTQNSD, b"\0\0\0\0")
        except OSError:
            return 0
        return int(struct.unpack("i", packed)[0])


def play(
    road: Road, pieces: Sequence[bytes], plan: Sequence[Step], conduct: Conduct, *, eager: bool
) -> Seen:
    """``plan``: what may come of the requests. ``eager``: the first piece does not wait until the
    server has accepted the connection."""
    server = road.server
    if conduct is Conduct.HELD:
        server.hold()
    server.drain()
    in_kernel = road.way is not Way.PROXY
    with road.connect() as sock:
        peer = sock.getsockname()[:2]
        client = _Client(sock)
        record: Record | None = None
        if in_kernel and not eager:
            record = server.record(peer, PATIENCE)
        sent = 0
        for piece in pieces:
            if not client.send(piece):
                break
            sent += len(piece)
            if conduct is Conduct.LOCKSTEP:
                client.read_until(_answered(plan, sent))
                if client.end:
                    break
            elif conduct is Conduct.UNREAD and record is not None:
                server.await_answers(record, _served(plan, sent), _FULL)
        if conduct is Conduct.HELD:
            server.release()
        if conduct is not Conduct.HASTY:
            client.read_until(_answered(plan, sent))
        client.half_close()
        client.read_until(lambda received: False)
        if in_kernel and record is None:
            record = server.record(peer, PATIENCE)
        server_end = EOF
        if in_kernel:
            server_end = HANG if record is None else _server_end(server, record)
        server.forget(peer)
    messages, faults = server.drain()
    return Seen(
        client.received,
        client.end,
        b"" if record is None else bytes(record.received),
        server_end,
        tuple(
            Message(request.method, request.path if not in_kernel else request.target, content)
            for request, content in messages
        ),
        tuple(faults),
    )


def _server_end(server: Server, record: Record) -> str:
    with server.changed:
        if not server.changed.wait_for(lambda: record.ended is not None, PATIENCE):
            return HANG
    assert record.ended is not None
    return record.ended


def _served(plan: Sequence[Step], sent: int) -> int:
    """How many requests the server can have answered of the first ``sent`` bytes."""
    return sum(step.item.served and (step.item.end or 0) <= sent for step in plan)


def _answered(plan: Sequence[Step], sent: int) -> Callable[[bytes], bool]:
    """Tells whether all answers are there that are certain to come for the first ``sent`` bytes."""
    due = 0
    for step in plan:
        item = step.item
        place = item.end if item.served else item.decided
        if item.pending or place is None or place > sent:
            break
        if any(choice.kind is Kind.SILENT for choice in step.choices):
            break
        due += 1
    methods = [step.item.method for step in plan]

    def done(received: bytes) -> bool:
        if not due:
            return True
        try:
            answers, _ = split(received, methods, lambda number, rest: None)
        except Garbled:
            return True  # which the comparison tells
        return len(answers) >= due or any(answer.closes for answer in answers)

    return done
