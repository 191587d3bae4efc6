"""From what happened on a connection to its flow record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from l7proxy.http.refused import Refused
from l7proxy.http.request import Request
from l7proxy.observe.flows import AUDIT, DROPPED, ERROR, FORWARDED, RequestRecord
from l7proxy.policy.verdict import Road, Verdict
from l7proxy.proxy.decisions import Decider
from l7proxy.proxy.ports import Downstream, Endpoint
from l7proxy.proxy.relay import ResponseRelay
from l7proxy.reasons import BACKEND_FAULTS, Reason

if TYPE_CHECKING:
    from l7proxy.proxy.downstream import ClientConnection

_PROTOCOLS = ("HTTP/1.0", "HTTP/1.1")
_METHOD_BYTES = 32


class Account:
    """What is known of an exchange, for its record: the half of it that moves no bytes."""

    __slots__ = (
        "backend",
        "client",
        "decider",
        "latency",
        "request",
        "request_bytes",
        "request_id",
        "response",
        "started",
        "status",
        "time",
        "verdict",
    )

    def __init__(self, client: ClientConnection, request: Request, now: float) -> None:
        self.client = client
        self.request = request
        self.started = now
        self.time = time.time()
        self.response = ResponseRelay(request, client.state.limits)
        self.decider: Decider | None = None
        self.verdict: Verdict | None = None
        self.backend: Endpoint | None = None
        self.status: int | None = None
        self.latency: float | None = None
        self.request_id = b""
        self.request_bytes = 0

    def answered(self, status: int | None) -> None:
        """The client gets the first byte of its answer now."""
        self.status = status
        self.latency = self.client.state.timers.clock() - self.started

    def record(self, failure: Reason | None) -> None:
        """The exchange has ended: as its verdict said, unless ``failure`` is given. Once."""
        client = self.client
        observer = client.state.observer
        observer.exchange_ended()
        if failure is not None and failure in BACKEND_FAULTS:
            observer.upstream_failed(failure)
        # Nobody knows who the client is while no policy set has been loaded yet.
        if client.ends is not None:
            observer.record(self._record(client.ends, failure))

    def _record(self, ends: Downstream, failure: Reason | None) -> RequestRecord:
        decider, verdict, request = self.decider, self.verdict, self.request
        logged = () if verdict is None else verdict.logged
        if failure is not None:
            reason, outcome = failure, _outcome(failure)
        elif verdict is not None and verdict.audit is not None:
            verdict = verdict.audit
            reason, outcome = verdict.reason, AUDIT
        elif verdict is not None:
            reason, outcome = verdict.reason, FORWARDED
        else:
            reason, outcome = Reason.INTERNAL, ERROR
        return RequestRecord(
            self.time,
            ends.client if decider is None else decider.client,
            ends.client_endpoint,
            ends.server if decider is None else decider.server,
            ends.destination,
            ends.direction,
            Road.PROXY,
            request.method,
            request.path,
            request.host,
            _PROTOCOLS[request.minor_version],
            self.status,
            outcome,
            reason,
            None if verdict is None else verdict.policy,
            None if verdict is None else verdict.rule,
            self.backend,
            self.latency,
            self.request_bytes,
            self.response.content,
            self.request_id,
            logged,
        )


def refused_record(
    ends: Downstream, refused: Refused, seconds: float, head: bytes
) -> RequestRecord:
    """The record of a request that could not be understood; ``head`` is what there was of it."""
    words = head.partition(b"\r\n")[0].split(b" ")
    method, target = (words[0], words[1]) if len(words) == 3 else (b"", b"")
    if len(method) > _METHOD_BYTES:
        method = b""
    return RequestRecord(
        seconds,
        ends.client,
        ends.client_endpoint,
        ends.server,
        ends.destination,
        ends.direction,
        Road.PROXY,
        method,
        target,
        b"",
        _PROTOCOLS[1],
        refused.reason.status,
        _outcome(refused.reason),
        refused.reason,
        # The answer follows the byte that shows the mistake, at once.
        latency_s=None if refused.reason.status is None else 0.0,
    )


# Allowed, or never looked at, and yet not served.
_ERRORS = frozenset(
    (
        Reason.BODY_TIMEOUT,
        Reason.OVERLOADED,
        Reason.NO_BACKEND,
        Reason.UPSTREAM_REFUSED,
        Reason.UPSTREAM_CLOSED,
        Reason.UPSTREAM_NOT_HTTP,
        Reason.UPSTREAM_TIMEOUT,
        Reason.CLIENT_CLOSED,
        Reason.INTERNAL,
    )
)


def _outcome(reason: Reason) -> str:
    return ERROR if reason in _ERRORS else DROPPED
