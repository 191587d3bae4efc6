"""What a client connection does with its socket: write, pause, and above all close."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Protocol, cast

from l7proxy.proxy.state import WorkerState
from l7proxy.proxy.timers import NEVER
from l7proxy.reasons import Reason

_DEFAULT_HIGH_WATER = 65536
_LINGER_OFF = struct.pack("ii", 0, 0)


class ClientUser(Protocol):
    """What serves the client at the moment: an exchange, or a tunnel."""

    def client_data(self) -> None:
        """The connection's ``buffer`` has grown; take from it what is yours."""

    def client_eof(self) -> None:
        """The client sends no more; it may still read."""

    def client_lost(self) -> None:
        """The client is gone."""

    def client_paused(self) -> None:
        """The client does not read; what is queued for it is at the limit."""

    def client_resumed(self) -> None:
        """The client reads again."""

    def fail(self, reason: Reason) -> None:
        """End, with an error answer if that is still possible."""

    def expired(self) -> None:
        """The connection's deadline has passed."""


class ClientTransport(asyncio.Protocol):
    """The half of a client connection that knows sockets and no HTTP.

    buffer: what the client sent and nobody took yet. ended: the client sends no more.
    write_paused: it does not read, and what is queued for it is at the limit. closing: nothing it
    sends matters any more. deadline: see ``timers``.
    """

    __slots__ = (
        "_queued",
        "_reading_paused",
        "_transport",
        "buffer",
        "closing",
        "deadline",
        "ended",
        "state",
        "write_paused",
    )

    def __init__(self, state: WorkerState) -> None:
        self.state = state
        self.buffer = b""
        self.deadline = NEVER
        self.closing = False
        self.ended = False
        self.write_paused = False
        self._queued = 0
        self._reading_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        high = self.state.limits.body_buffer
        if high != _DEFAULT_HIGH_WATER:
            self._transport.set_write_buffer_limits(high=high)

    @property
    def sock(self) -> socket.socket:
        """The event loop's view of the socket; see ``ports.Resolver``."""
        sock: socket.socket = self._transport.get_extra_info("socket")
        return sock

    @property
    def queued(self) -> int:
        """Bytes written that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Queues bytes for the client."""
        self._transport.write(data)

    def write_eof(self) -> None:
        """Sends an end of file after what is queued; the client may still send."""
        if not self._transport.is_closing():
            self._transport.write_eof()

    def settle_reading(self) -> None:
        """Reads, or lets the client wait while too much of what it sent is still to be taken."""
        if self.closing:
            return
        pause = len(self.buffer) > self.state.limits.body_buffer
        if pause != self._reading_paused:
            self._reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def close(self, linger: bool = False) -> None:
        """Closes so that everything written is delivered.

        With ``linger`` the client gets an end of file and is listened to until it ends too:
        closing a socket with unread input resets it, and a reset may destroy the last answer.
        """
        if self.closing:
            return
        linger = linger or bool(self.buffer)
        self.closing = True
        self.buffer = b""
        self._linger_deadline()
        # Accepted sockets reset by default; see ``worker.accept``.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
        if linger and not self.ended:
            self._transport.write_eof()
            if self._reading_paused:
                self._reading_paused = False
                self._transport.resume_reading()
        else:
            self._transport.close()

    def reset(self) -> None:
        """Closes at once with a reset; what was written may be lost."""
        self.closing = True
        self.buffer = b""
        self._transport.abort()

    def linger_expired(self) -> None:
        """A closing connection is given up unless the client still takes what was written."""
        queued = self.queued
        if queued and queued != self._queued:
            self._queued = queued
            self._linger_deadline()
        else:
            self._transport.abort()

    def _linger_deadline(self) -> None:
        self.deadline = self.state.timers.clock() + self.state.limits.linger_timeout
