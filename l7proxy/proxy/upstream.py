"""The connection to a backend: a thin protocol that hands everything to the exchange it serves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Protocol, cast

from l7proxy.proxy.ports import Dialer
from l7proxy.proxy.timers import NEVER, Timers

if TYPE_CHECKING:
    from l7proxy.proxy.pool import Destination

_DEFAULT_HIGH_WATER = 65536
_UNREAD_BYTES = 262144


class UpstreamUser(Protocol):
    """What an exchange lets its upstream connection tell it."""

    def upstream_data(self, data: bytes) -> None:
        """Bytes from the backend."""

    def upstream_eof(self) -> bool:
        """The backend sends no more; the answer is whether it may still be written to."""

    def upstream_lost(self) -> None:
        """The connection is gone, with or without a reset."""

    def upstream_paused(self) -> None:
        """The backend does not read; what is queued for it is at the limit."""

    def upstream_resumed(self) -> None:
        """The backend takes bytes again."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to a backend, owned by one exchange at a time or idle in the pool.

    Any byte or end that arrives while nobody owns it closes it: a connection with unexpected
    bytes could answer the next request with somebody else's response.
    """

    __slots__ = (
        "_dialer",
        "_sock",
        "_timers",
        "deadline",
        "destination",
        "transport",
        "user",
        "write_paused",
    )

    def __init__(
        self, destination: Destination, timers: Timers, dialer: Dialer, sock: socket.socket
    ) -> None:
        self.destination = destination
        self.deadline = NEVER
        self.user: UpstreamUser | None = None
        self.write_paused = False
        self.transport: asyncio.Transport | None = None
        self._timers = timers
        self._dialer = dialer
        self._sock: socket.socket | None = sock

    @property
    def usable(self) -> bool:
        """Whether a request may be written to it."""
        transport = self.transport
        return transport is not None and not transport.is_closing() and not self.write_paused

    def limit_buffer(self, high: int) -> None:
        """Bounds the bytes queued for the backend before ``write_paused`` is set."""
        if self.transport is not None and high != _DEFAULT_HIGH_WATER:
            self.transport.set_write_buffer_limits(high=high)

    def write(self, data: bytes) -> None:
        """Queues bytes for the backend."""
        if self.transport is not None:
            self.transport.write(data)

    def pause_reading(self) -> None:
        """Lets the backend wait."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Takes bytes from the backend again."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self) -> None:
        """Closes at once; what is queued for the backend is dropped."""
        self.user = None
        self.destination.forget(self)
        self.release()
        if self.transport is not None:
            self.transport.abort()

    def write_eof(self) -> None:
        """Sends an end of file after what is queued; the connection stays open for reading."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()

    def finish(self) -> None:
        """Closes after what is queued is delivered; nobody uses the connection any more."""
        self.user = None
        if self.transport is not None:
            self.deadline = self._timers.clock() + self.destination.limits.linger_timeout
            self.transport.close()

    def release(self) -> None:
        """Tells the dialer, once, that the socket is about to be closed."""
        if self._sock is not None:
            sock, self._sock = self._sock, None
            self._dialer.release(sock)

    def expired(self) -> None:
        """It was idle for too long."""
        self.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._timers.watch(self)

    def data_received(self, data: bytes) -> None:
        user = self.user
        if user is None:
            self.close()
        else:
            user.upstream_data(data)

    def eof_received(self) -> bool:
        user = self.user
        return user is not None and user.upstream_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        rest = self._unread() if exc is not None and self.user is not None else b""
        self.release()
        self._timers.unwatch(self)
        self.destination.forget(self)
        self.transport = None
        if rest and self.user is not None:
            self.user.upstream_data(rest)
        user, self.user = self.user, None
        if user is not None:
            user.upstream_lost()

    def _unread(self) -> bytes:
        """What the backend sent before it reset the connection.

        A backend that answers without reading the request's body, and closes, resets; the reset
        is noticed while writing, and the answer would be lost though it has arrived.
        """
        rest = b""
        with contextlib.suppress(OSError):
            while self._sock is not None and len(rest) < _UNREAD_BYTES:
                data = os.read(self._sock.fileno(), _UNREAD_BYTES)
                if not data:
                    break
                rest += data
        return rest

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.user is not None:
            self.user.upstream_paused()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.user is not None:
            self.user.upstream_resumed()
