"""One request and its response: decide, reach a backend, pass both bodies on, record.

The response side moves through ``Phase``; the request side is done when ``body`` is None. The two
are independent, because a backend may answer before it has read the request:

    CONNECTING -> WAITING -> STREAMING -> ENDED        (any phase -> ENDED on failure)

- CONNECTING  no backend connection yet; the request body waits at the client
- WAITING     the request was sent, whole or in part; no final response head yet
- STREAMING   the response head was passed on; what fails now can only be told by a reset
- ENDED       recorded, and both connections let go of
"""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING

from l7proxy.http import answers
from l7proxy.http.body import BodyReader, LengthBody, chunk, last_chunk, reader
from l7proxy.http.forward import kept_request_id, new_request_id, request_head
from l7proxy.http.framing import CHUNKED
from l7proxy.http.refused import Refused
from l7proxy.http.request import Request, refuse_early_bytes
from l7proxy.policy.verdict import Action, Verdict
from l7proxy.proxy.decisions import Decider
from l7proxy.proxy.pool import Destination
from l7proxy.proxy.ports import Endpoint
from l7proxy.proxy.records import exchange_record
from l7proxy.proxy.relay import ResponseRelay
from l7proxy.proxy.tunnel import Tunnel
from l7proxy.proxy.upstream import UpstreamConnection
from l7proxy.reasons import Reason

if TYPE_CHECKING:
    from l7proxy.proxy.downstream import ClientConnection

# RFC 9110 9.2.2: "the idempotent methods are PUT, DELETE, and safe request methods"; "A client
# SHOULD NOT automatically retry a request with a non-idempotent method".
_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))

_BACKEND_FAULTS = frozenset(
    (
        Reason.UPSTREAM_REFUSED,
        Reason.UPSTREAM_CLOSED,
        Reason.UPSTREAM_NOT_HTTP,
        Reason.UPSTREAM_TIMEOUT,
    )
)


class Phase(Enum):
    """Where the response is."""

    CONNECTING = "connecting"
    WAITING = "waiting"
    STREAMING = "streaming"
    ENDED = "ended"


_CONNECTING, _WAITING = Phase.CONNECTING, Phase.WAITING
_STREAMING, _ENDED = Phase.STREAMING, Phase.ENDED


class Exchange:
    """One exchange, between a client connection and at most one upstream connection at a time."""

    __slots__ = (
        "_reused",
        "_unsent",
        "backend",
        "body",
        "client",
        "decider",
        "destination",
        "latency",
        "phase",
        "request",
        "request_bytes",
        "request_id",
        "response",
        "started",
        "status",
        "time",
        "upstream",
        "verdict",
    )

    def __init__(self, client: ClientConnection, request: Request, now: float) -> None:
        self.client = client
        self.request = request
        self.started = now
        self.time = time.time()
        self.phase = _CONNECTING
        self.response = ResponseRelay(request, client.state.limits)
        self.body: BodyReader | None = None
        self.upstream: UpstreamConnection | None = None
        self.destination: Destination | None = None
        self.decider: Decider | None = None
        self.verdict: Verdict | None = None
        self.backend: Endpoint | None = None
        self.status: int | None = None
        self.latency: float | None = None
        self.request_id = b""
        self.request_bytes = 0
        self._unsent = b""  # request body that came with the head
        self._reused = False  # the upstream connection comes from the pool

    # Deciding.

    def begin(self) -> None:
        """Decides the request and sets off for the backend, or answers. Raises Refused."""
        client = self.client
        state = client.state
        state.observer.exchange_started()
        if state.snapshot is None:
            self.fail(Reason.NOT_READY)
            return
        decider = self.decider = client.decider(state.snapshot)
        if decider is None:
            self._record(Reason.INTERNAL)
            self._reset()
            return
        if not decider.admission.allowed:
            self._record(decider.admission.reason)
            self._reset()
            return
        request = self.request
        verdict = self.verdict = decider.decide(request)
        if verdict.action is Action.BLOCK:
            self._deny(verdict.reason)
            return
        if request.upgrade is not None:
            refuse_early_bytes(request, len(client.buffer))
        if request.has_content:
            self.body = reader(request.framing, state.limits)
            self._unsent = self._take_body()
        destination = self._route(verdict)
        if destination is None:
            self.fail(Reason.NO_BACKEND)
            return
        self.destination = destination
        self.request_id = kept_request_id(request) or new_request_id()
        upstream = destination.take()
        if upstream is None:
            self._connect()
        else:
            self._reused = True
            self._send(upstream)

    def _route(self, verdict: Verdict) -> Destination | None:
        client = self.client
        if verdict.action is not Action.FORWARD:
            return client.server
        if verdict.backend is None:
            return None
        self.backend = Endpoint(*verdict.backend)
        adapter = client.state.adapter
        netns = None if client.ends is None else client.ends.netns
        return client.state.pool.destination(self.backend, adapter.route(self.backend, netns))

    def _deny(self, reason: Reason) -> None:
        """Answers 403 without asking a backend; what is left of a small body is thrown away."""
        client, request = self.client, self.request
        limits = client.state.limits
        keep = request.keep_alive and request.upgrade is None and not client.state.draining
        if request.has_content:
            body = self.body = reader(request.framing, limits)
            self._take_body()
            if isinstance(body, LengthBody):
                small = body.remaining <= limits.refused_body
            else:
                small = body.done
            # A client that waits for 100 may send the body after all, or the next request
            # instead: the bytes would not tell which.
            keep = keep and small and not (request.expects_continue and not body.done)
        self.phase = _ENDED
        self._answer(reason, keep)
        self._record(reason)
        client.exchange_ended(keep, self.body)

    # Reaching the backend.

    @property
    def waiting(self) -> bool:
        """Whether a backend connection is still wanted."""
        return self.phase is _CONNECTING and self.upstream is None

    def connected(self, upstream: UpstreamConnection) -> None:
        """A fresh backend connection."""
        try:
            if upstream.usable:
                self._send(upstream)
            else:
                self.fail(Reason.UPSTREAM_CLOSED)
        except Exception as error:
            self.client.fault(error)

    def connect_failed(self, detail: str) -> None:
        """No connection: the backend refused, or did not answer in time."""
        self.fail(Reason.UPSTREAM_REFUSED)

    def _connect(self) -> None:
        state = self.client.state
        self.phase = _CONNECTING
        self._reused = False
        self.client.deadline = state.timers.clock() + state.limits.connect_timeout
        assert self.destination is not None
        self.destination.connect(self)

    def _send(self, upstream: UpstreamConnection) -> None:
        """Writes the head, with as much of the body as there is, in one piece."""
        client = self.client
        request, verdict, destination = self.request, self.verdict, self.destination
        assert verdict is not None
        assert destination is not None
        self.upstream = upstream
        upstream.user = self
        self.phase = _WAITING
        head = request_head(
            request,
            client_address=client.address,
            request_id=self.request_id,
            edits=verdict.edits,
            default_host=b"" if request.host else str(destination.endpoint).encode(),
        )
        if self._unsent:
            head += self._unsent
            self._unsent = b""
        upstream.write(head)
        self._wait(client.state.timers.clock())
        if self.body is not None and (client.buffer or client.ended):
            client.advance()

    def _wait(self, now: float) -> None:
        """Sets the deadline for what has to come next before the response head."""
        limits = self.client.state.limits
        if self.body is None or self.request.expects_continue:
            self.client.deadline = now + limits.first_byte_timeout
        else:
            self.client.deadline = now + limits.body_timeout

    # From the client.

    def client_data(self) -> None:
        """Sends on what is there of the request body. Raises Refused."""
        client, upstream = self.client, self.upstream
        if self.body is None:
            if self.request.upgrade is not None:
                refuse_early_bytes(self.request, len(client.buffer))
            return
        if upstream is None or upstream.write_paused:
            return
        data = self._take_body()
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

    def client_lost(self) -> None:
        """The client is gone."""
        if self.phase is not _ENDED:
            self._drop_upstream()
            self.phase = _ENDED
            self._record(Reason.CLIENT_CLOSED)

    def client_paused(self) -> None:
        """The client does not read: let the backend wait."""
        if self.upstream is not None:
            self.upstream.pause_reading()

    def client_resumed(self) -> None:
        """The client reads again."""
        if self.upstream is not None:
            self._stream_deadline()
            self.upstream.resume_reading()

    def _take_body(self) -> bytes:
        """Takes the request body's bytes from the client's buffer, framed for the backend."""
        client, body = self.client, self.body
        assert body is not None
        data = client.buffer
        pieces, used = body.feed(data)
        client.buffer = data[used:]
        for piece in pieces:
            self.request_bytes += len(piece)
        if self.request.framing is CHUNKED:
            pieces = [chunk(piece) for piece in pieces]
            if body.done:
                pieces.append(last_chunk(body.trailers))
        if body.done:
            self.body = None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

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
            self.status = response.status
            self.latency = state.timers.clock() - self.started
        if response.done:
            self._complete()
        elif response.upgraded and upstream is not None:
            self._upgrade(upstream)
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
            self._complete()
        return False

    def upstream_lost(self) -> None:
        """The backend closed too early: once more on a fresh connection where that is safe.

        Safe means that an idle connection turned out closed before it gave a byte, and that the
        request can be repeated without anybody noticing.
        """
        self._drop_upstream()
        if (
            self._reused
            and not self.response.heard
            and self.phase is _WAITING
            and not self.request.has_content
            and self.request.method in _IDEMPOTENT
        ):
            self._connect()
        else:
            self.fail(Reason.UPSTREAM_CLOSED)

    def upstream_paused(self) -> None:
        """The backend does not read: let the client wait."""
        self._stream_deadline()
        self.client.hold_reading(True)

    def upstream_resumed(self) -> None:
        """The backend reads again."""
        if self.phase is _WAITING:
            self._wait(self.client.state.timers.clock())
        self.client.hold_reading(False)

    def _upgrade(self, upstream: UpstreamConnection) -> None:
        client = self.client
        self.phase = _ENDED
        self.upstream = None
        tunnel = Tunnel(client, upstream, self._tunnel_ended)
        if client.ended:
            tunnel.client_eof()

    def _tunnel_ended(self, sent: int, received: int) -> None:
        self.request_bytes, self.response.content = sent, received
        self._record(None)

    def _stream_deadline(self) -> None:
        state = self.client.state
        self.client.deadline = state.timers.clock() + state.limits.stream_timeout

    # Ends.

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

    def fail(self, reason: Reason) -> None:
        """Ends without a response from the backend: with our answer if nothing was sent yet."""
        if self.phase is _ENDED:
            return
        streaming = self.phase is _STREAMING
        self._drop_upstream()
        self.phase = _ENDED
        if streaming or reason.status is None:
            self._record(reason)
            self._reset()
            return
        self._answer(reason, keep=False)
        self._record(reason)
        self.client.exchange_ended(keep=False)

    def _answer(self, reason: Reason, keep: bool) -> None:
        client, request = self.client, self.request
        self.status = reason.status
        self.latency = client.state.timers.clock() - self.started
        client.write(
            answers.answer(
                reason,
                keep_alive=keep,
                client_minor=request.minor_version,
                head=request.method == b"HEAD",
            )
        )

    def _complete(self) -> None:
        """The response is whole."""
        client, upstream, destination = self.client, self.upstream, self.destination
        assert upstream is not None
        assert destination is not None
        self.phase = _ENDED
        self.upstream = None
        upstream.user = None
        if self.response.reusable and self.body is None:
            if client.write_paused:
                upstream.resume_reading()
            destination.put(upstream)
        else:
            upstream.close()
        self._record(None)
        client.exchange_ended(self.response.keep)

    def _drop_upstream(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()

    def _reset(self) -> None:
        self.phase = _ENDED
        self.client.user = None
        self.client.reset()

    def _record(self, failure: Reason | None) -> None:
        observer = self.client.state.observer
        record = exchange_record(self, failure)
        if record is not None:
            observer.record(record)
        if failure in _BACKEND_FAULTS:
            observer.upstream_failed(failure)
        observer.exchange_ended()
