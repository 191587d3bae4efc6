"""From what happened on a connection to its flow record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l7proxy.http.refused import Refused
from l7proxy.observe.flows import DROPPED, ERROR, FORWARDED, RequestRecord
from l7proxy.policy.verdict import Road
from l7proxy.proxy.ports import Downstream
from l7proxy.reasons import Reason

if TYPE_CHECKING:
    from l7proxy.proxy.exchange import Exchange

_PROTOCOLS = ("HTTP/1.0", "HTTP/1.1")
_METHOD_BYTES = 32


def exchange_record(exchange: Exchange, failure: Reason | None) -> RequestRecord | None:
    """The record of an exchange that ended, as its verdict said unless ``failure`` is given.

    None when nobody knows who the client is, because no policy set has been loaded yet.
    """
    ends = exchange.client.ends
    if ends is None:
        return None
    decider, verdict, request = exchange.decider, exchange.verdict, exchange.request
    if failure is not None:
        reason, outcome = failure, _outcome(failure)
    elif verdict is not None:
        reason, outcome = verdict.reason, FORWARDED
    else:
        reason, outcome = Reason.INTERNAL, ERROR
    return RequestRecord(
        exchange.time,
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
        exchange.status,
        outcome,
        reason,
        None if verdict is None else verdict.policy,
        None if verdict is None else verdict.rule,
        exchange.backend,
        exchange.latency,
        exchange.request_bytes,
        exchange.response.content,
        exchange.request_id,
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
