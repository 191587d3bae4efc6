"""A client and a backend joined byte for byte, after the backend accepted an upgrade."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from l7proxy.reasons import Reason

if TYPE_CHECKING:
    from l7proxy.http.request import Request
    from l7proxy.proxy.downstream import ClientConnection
    from l7proxy.proxy.upstream import UpstreamConnection


class Tunnel:
    """Takes the place of the exchange at both connections.

    What one side sends, the other receives; when that one cannot be written to, the first is not
    read. An end of file is passed on and the other direction stays open; a reset is passed on as
    a reset. ``on_end(sent, received)`` is called once, with the bytes that came from the client
    and those that came from the backend. ``request`` asked for the upgrade; as it is the last one
    on this connection, new policies are asked about it again.
    """

    __slots__ = (
        "_client",
        "_client_ended",
        "_on_end",
        "_received",
        "_sent",
        "_upstream",
        "_upstream_ended",
        "request",
    )

    def __init__(
        self,
        client: ClientConnection,
        upstream: UpstreamConnection,
        request: Request,
        on_end: Callable[[int, int], None],
    ) -> None:
        self._client = client
        self.request = request
        self._upstream = upstream
        self._on_end: Callable[[int, int], None] | None = on_end
        self._sent = 0
        self._received = 0
        self._client_ended = False
        self._upstream_ended = False
        upstream.user = self
        client.user = self
        self._touch()

    # From the client's connection.

    def client_data(self) -> None:
        """Passes on what the client sent."""
        if self._upstream.write_paused:
            return
        data, self._client.buffer = self._client.buffer, b""
        self._sent += len(data)
        self._touch()
        self._upstream.write(data)
        if self._client_ended:
            self.client_eof()

    def client_eof(self) -> None:
        """The client sends no more; it may still read."""
        self._client_ended = True
        if self._client.buffer:
            return
        if self._upstream_ended:
            self._end(clean=True)
        else:
            self._upstream.write_eof()

    def client_lost(self) -> None:
        """The client's connection is gone."""
        self._end(clean=False)

    def client_paused(self) -> None:
        """The client does not read: let the backend wait."""
        self._upstream.pause_reading()

    def client_resumed(self) -> None:
        """The client reads again."""
        self._touch()
        self._upstream.resume_reading()

    def fail(self, reason: Reason) -> None:
        """Ends both sides with a reset."""
        self._end(clean=False)

    def expired(self) -> None:
        """Nothing moved in either direction for too long."""
        self._end(clean=False)

    # From the backend's connection.

    def upstream_data(self, data: bytes) -> None:
        """Passes on what the backend sent."""
        self._received += len(data)
        self._touch()
        self._client.write(data)

    def upstream_eof(self) -> bool:
        """The backend sends no more; it may still read unless the client has ended too."""
        self._upstream_ended = True
        if self._client_ended:
            self._end(clean=True)
            return False
        self._client.write_eof()
        return True

    def upstream_lost(self) -> None:
        """The backend's connection is gone."""
        self._end(clean=False)

    def upstream_paused(self) -> None:
        """The backend does not read: what the client sends stays in its buffer, and then in its
        socket."""

    def upstream_resumed(self) -> None:
        """The backend reads again."""
        self._touch()
        self._client.advance()

    def _touch(self) -> None:
        state = self._client.state
        self._client.deadline = state.timers.clock() + state.limits.stream_timeout

    def _end(self, clean: bool) -> None:
        if self._on_end is None:
            return
        on_end, self._on_end = self._on_end, None
        self._client.user = None
        if clean:
            self._upstream.finish()
            self._client.close()
        else:
            self._upstream.close()
            self._client.reset()
        on_end(self._sent, self._received)
