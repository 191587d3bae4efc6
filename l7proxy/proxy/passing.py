"""Passing bytes between a client and a backend, while an exchange has both.

The response side moves through ``Phase``; the request side is done when ``body`` is None. The two
are independent, because a backend may answer before it has read the request:

    CONNECTING -> WAITING -> STREAMING -> ENDED        (any phase -> ENDED on failure)

- CONNECTING  no backend connection yet; the request body waits at the client
- WAITING     the request was sent, whole or in part; no final response head yet
- STREAMING   the response head was passed on; what fails now can only be told by a reset
- ENDED       recorded, and both connections let go of
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING

from l7proxy.http.refused import Refused
from l7proxy.http.request import Request, refuse_early_bytes
from l7proxy.proxy.records import Account
from l7proxy.proxy.relay import RequestRelay
from l7proxy.proxy.upstream import UpstreamConnection
from l7proxy.reasons import Reason

if TYPE_CHECKING:
    from l7proxy.proxy.downstream import ClientConnection


class Phase(Enum):
    """Where the response is."""

    CONNECTING = "connecting"
    WAITING = "waiting"
    STREAMING = "streaming"
    ENDED = "ended"


_CONNECTING, _WAITING = Phase.CONNECTING, Phase.WAITING
_STREAMING, _ENDED = Phase.STREAMING, Phase.ENDED


class Passing(Account, ABC):
    """The events of both connections, until the exchange is complete or fails.

    ``fail``, ``complete`` and ``upgrade`` are the subclass's: how an exchange ends.
    """

    __slots__ = ("body", "phase", "upstream")

    def __init__(self, client: ClientConnection, request: Request, now: float) -> None:
        super().__init__(client, request, now)
        self.phase = Phase.CONNECTING
        self.body: RequestRelay | None = None  # None when it has been sent
        self.upstream: UpstreamConnection | None = None

    @abstractmethod
    def fail(self, reason: Reason) -> None:
        """Ends the exchange for a reason."""

    @abstractmethod
    def complete(self) -> None:
        """Ends the exchange: the response is whole."""

    @abstractmethod
    def upstream_lost(self) -> None:
        """The backend is gone before the response was whole."""

    @abstractmethod
    def upgrade(self, upstream: UpstreamConnection) -> None:
        """Ends the exchange: what follows belongs to a tunnel."""

    # From the client.

    def client_data(self) -> None:
        """Sends on what is there of the request body. Raises Refused."""
        client, upstream, body = self.client, self.upstream, self.body
        if body is None:
            # Once the backend has declined, what follows can only be the next request.
            if self.request.upgrade is not None and self.phase is not _STREAMING:
                refuse_early_bytes(self.request, len(client.buffer))
            return
        if upstream is None or upstream.write_paused:
            return
        data = self.take_body(body)
        if data:
            upstream.write(data)
        if self.phase is _WAITING:
            limits = client.state.limits
            waiting = limits.first_byte_timeout if self.body is None else limits.body_timeout
            client.deadline = client.state.timers.clock() + waiting
        if client.ended:
            self.client_eof()

    def client_eof(self) -> None:
        """A whole request is answered all the same; half of one is not sent on."""
        upstream = self.upstream
        if self.body is None or self.phase is _ENDED:
            return
        if self.client.buffer and (upstream is None or upstream.write_paused):
            return
        self.fail(Reason.CLIENT_CLOSED)

    def client_paused(self) -> None:
        """The client does not read: let the backend wait."""
        if self.upstream is not None:
            self.upstream.pause_reading()

    def client_resumed(self) -> None:
        """The client reads again."""
        if self.upstream is not None:
            self._stream_deadline()
            self.upstream.resume_reading()

    def take_body(self, body: RequestRelay) -> bytes:
        """Takes the request body's bytes from the client's buffer, framed for the backend."""
        client = self.client
        data, client.buffer = body.take(client.buffer)
        self.body = None if body.done else body
        self.request_bytes = body.content
        return data

    # From the backend.

    def upstream_data(self, data: bytes) -> None:
        """Bytes of the response."""
        try:
            self._pass_on(data)
        except Refused as refused:
            self.fail(refused.reason)
        except Exception as error:
            self.client.fault(error)

    def _pass_on(self, data: bytes) -> None:
        client, response, upstream = self.client, self.response, self.upstream
        state = client.state
        body = self.body
        may_keep = self.request.keep_alive and body is None and not state.draining
        data = response.feed(data, may_keep)
        if data:
            client.write(data)
        if self.phase is _WAITING and response.status is not None:
            self.phase = _STREAMING
            self.answered(response.status)
        if response.done:
            self.complete()
        elif response.upgraded and upstream is not None:
            self.upgrade(upstream)
        elif self.phase is _STREAMING:
            self._stream_deadline()
        elif data and body is not None:
            # It said 100: now it is the client's turn.
            client.deadline = state.timers.clock() + state.limits.body_timeout

    def upstream_eof(self) -> bool:
        """The end of a response that has no other end; else as a lost connection."""
        rest = self.response.eof()
        if rest is None:
            self.upstream_lost()
        else:
            self.client.write(rest)
            self.complete()
        return False

    def upstream_paused(self) -> None:
        """The backend does not read: its patience is judged now, not the client's."""
        self._stream_deadline()

    def upstream_resumed(self) -> None:
        """The backend reads again."""
        if self.phase is _WAITING:
            self.wait(self.client.state.timers.clock())
        self.client.advance()

    # Silence.

    def wait(self, now: float) -> None:
        """Sets the deadline for what has to come next before the response head."""
        limits = self.client.state.limits
        if self.body is None or self.request.expects_continue:
            self.client.deadline = now + limits.first_byte_timeout
        else:
            self.client.deadline = now + limits.body_timeout

    def _stream_deadline(self) -> None:
        state = self.client.state
        self.client.deadline = state.timers.clock() + state.limits.stream_timeout

    def expired(self) -> None:
        """The deadline has passed: whose silence was it?"""
        upstream = self.upstream
        if self.client.write_paused:
            self.fail(Reason.CLIENT_CLOSED)
        elif upstream is None:
            self.fail(Reason.UPSTREAM_REFUSED)
        elif (
            self.phase is _WAITING
            and self.body is not None
            and not upstream.write_paused
            and (self.response.heard or self.request_bytes or not self.request.expects_continue)
        ):
            self.fail(Reason.BODY_TIMEOUT)
        else:
            self.fail(Reason.UPSTREAM_TIMEOUT)
