"""One request and its response, from the decision to the record.

``passing`` has the states an exchange goes through, and moves the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l7proxy.http import answers
from l7proxy.http.forward import kept_request_id, new_request_id, request_head
from l7proxy.http.request import Request, refuse_early_bytes
from l7proxy.policy.verdict import Action, Verdict
from l7proxy.proxy.passing import Passing, Phase
from l7proxy.proxy.pool import Destination
from l7proxy.proxy.ports import Endpoint
from l7proxy.proxy.relay import RequestRelay
from l7proxy.proxy.tunnel import Tunnel
from l7proxy.proxy.upstream import UpstreamConnection
from l7proxy.reasons import Reason

if TYPE_CHECKING:
    from l7proxy.proxy.downstream import ClientConnection

# RFC 9110 9.2.2: "the idempotent methods are PUT, DELETE, and safe request methods"; "A client
# SHOULD NOT automatically retry a request with a non-idempotent method".
_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


class Exchange(Passing):
    """One exchange, between a client connection and at most one upstream connection at a time."""

    __slots__ = ("_reused", "_unsent", "destination")

    def __init__(self, client: ClientConnection, request: Request, now: float) -> None:
        super().__init__(client, request, now)
        self.destination: Destination | None = None
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
            self._refuse(Reason.INTERNAL)
            return
        request = self.request
        self.request_id = kept_request_id(request) or b""
        verdict = self.verdict = decider.decide(request)
        if not decider.admission.allowed:
            self._refuse(verdict.reason)
            return
        if verdict.action is Action.BLOCK:
            self._deny(verdict.reason)
            return
        if request.upgrade is not None:
            refuse_early_bytes(request, len(client.buffer))
        if request.has_content:
            self._unsent = self.take_body(RequestRelay(request, state.limits))
        destination = self._route(verdict)
        if destination is None:
            self.fail(Reason.NO_BACKEND)
            return
        self.destination = destination
        self.request_id = self.request_id or new_request_id()
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
        keep = (
            answers.may_keep_alive(reason)
            and request.keep_alive
            and request.upgrade is None
            and not client.state.draining
        )
        if request.has_content:
            body = RequestRelay(request, limits)
            self.take_body(body)
            # A client that waits for 100 may send the body after all, or the next request
            # instead: the bytes would not tell which.
            keep = keep and (
                body.done
                or (body.ends_within(limits.refused_body) and not request.expects_continue)
            )
        self.phase = Phase.ENDED
        self._answer(reason, keep)
        self.record(reason)
        client.exchange_ended(keep, self.body, unread=True)

    # Reaching the backend.

    @property
    def waiting(self) -> bool:
        """Whether a backend connection is still wanted."""
        return self.phase is Phase.CONNECTING and self.upstream is None

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
        self.phase = Phase.CONNECTING
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
        self.phase = Phase.WAITING
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
        self.wait(client.state.timers.clock())
        if self.body is not None and (client.buffer or client.ended):
            client.advance()

    # Ends.

    def upstream_lost(self) -> None:
        """The backend closed too early: once more on a fresh connection where that is safe.

        Safe means that an idle connection turned out closed before it gave a byte, and that the
        request can be repeated without anybody noticing.
        """
        self._drop_upstream()
        if (
            self._reused
            and not self.response.heard
            and self.phase is Phase.WAITING
            and not self.request.has_content
            and self.request.method in _IDEMPOTENT
        ):
            self._connect()
        else:
            self.fail(Reason.UPSTREAM_CLOSED)

    def client_lost(self) -> None:
        """The client is gone."""
        if self.phase is not Phase.ENDED:
            self._drop_upstream()
            self.phase = Phase.ENDED
            self.record(Reason.CLIENT_CLOSED)

    def upgrade(self, upstream: UpstreamConnection) -> None:
        """The response switched protocols."""
        client = self.client
        self.phase = Phase.ENDED
        self.upstream = None
        tunnel = Tunnel(client, upstream, self.request, self._tunnel_ended)
        if client.ended:
            tunnel.client_eof()

    def _tunnel_ended(self, sent: int, received: int) -> None:
        self.request_bytes, self.response.content = sent, received
        self.record(None)

    def fail(self, reason: Reason) -> None:
        """Ends without a response from the backend: with our answer if nothing was sent yet."""
        if self.phase is Phase.ENDED:
            return
        streaming = self.phase is Phase.STREAMING
        self._drop_upstream()
        self.phase = Phase.ENDED
        if streaming or reason.status is None:
            self._refuse(reason)
            return
        self._answer(reason, keep=False)
        self.record(reason)
        self.client.exchange_ended(keep=False, unread=True)

    def _answer(self, reason: Reason, keep: bool) -> None:
        request = self.request
        self.answered(reason.status)
        minor, head = request.minor_version, request.method == b"HEAD"
        self.client.write(answers.answer(reason, keep_alive=keep, client_minor=minor, head=head))

    def complete(self) -> None:
        """The response is whole."""
        client, upstream, destination = self.client, self.upstream, self.destination
        assert upstream is not None
        assert destination is not None
        self.phase = Phase.ENDED
        self.upstream = None
        upstream.user = None
        if self.response.reusable and self.body is None:
            if client.write_paused:
                upstream.resume_reading()
            destination.put(upstream)
        else:
            upstream.close()
        self.record(None)
        client.exchange_ended(self.response.keep, unread=self.body is not None)

    def _drop_upstream(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()

    def _refuse(self, reason: Reason) -> None:
        """There is nothing that can be said any more, or nobody to say it to: a reset."""
        self.phase = Phase.ENDED
        self.record(reason)
        self.client.user = None
        self.client.reset()
