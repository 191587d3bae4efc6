"""One decided request, and its shape as a Hubble flow.

The JSON has the keys and the spelling of Hubble's ``GetFlowsResponse`` (proto3 JSON: 64-bit
numbers are strings, zero values are left out), so that ``hubble observe --input-file -`` reads it.
What Hubble has no key for travels in ``flow.extensions``, the place its schema keeps for that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from l7proxy.policy.verdict import Road
from l7proxy.printable import escaped
from l7proxy.proxy.ports import Endpoint
from l7proxy.reasons import Reason
from l7proxy.workloads.model import Host, Peer, Workload

Json = dict[str, Any]

REDACTED = "HUBBLE_REDACTED"
"""What stands in the place of a value that is kept out of records, as in Hubble."""

FORWARDED = "FORWARDED"
DROPPED = "DROPPED"
ERROR = "ERROR"
AUDIT = "AUDIT"
SERVED = (FORWARDED, AUDIT)

REQUEST_ID = "X-Request-Id"
_ACCESS_LOG_EVENT = 129
_LOST_SOURCE = "OBSERVER_EVENTS_QUEUE"
STRUCT = "type.googleapis.com/google.protobuf.Struct"

_PASSWORD = re.compile(r"(://[^/?#@:]*:)[^/?#]*@")

# Longer text is cut: a line stays far below the 64 KiB that Hubble's line reader takes.
TEXT_MAX = 2048

# Hubble's drop reasons are an enumeration of its own; only these two mean what ours mean.
_HUBBLE_DROP_REASONS: Mapping[Reason, tuple[int, str]] = {
    Reason.NO_RULE_MATCHED: (133, "POLICY_DENIED"),
    Reason.L4_DEFAULT_DENY: (133, "POLICY_DENIED"),
    Reason.RULE_BLOCKED: (181, "POLICY_DENY"),
    Reason.L4_DENY_RULE: (181, "POLICY_DENY"),
}


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request that was decided, written when its exchange ended.

    ``time`` is seconds since the epoch when the head was complete. ``path`` is the normalised
    path with its query, or what there was of the target if it could not be parsed; ``method``,
    ``path``, ``host`` and ``request_id`` are as received and may hold any byte. ``status`` is
    what the client was sent, None if it got nothing. ``verdict`` is FORWARDED, DROPPED (refused
    here), ERROR (allowed, but not served) or AUDIT (served, though audited policies would have
    refused it, for ``reason`` and by ``policy`` and ``rule``). ``latency_s`` runs from the complete
    head to the first byte of the answer, None without an answer, 0 where the head itself was
    refused. ``logged`` has the header conditions that a rule waived (``mismatch: LOG`` and the
    like). ``weight`` is how many requests the record stands for: itself, and those before it that
    were not recorded. ``cut``: there was more of the path than is in ``path``.
    """

    time: float
    client: Peer
    client_endpoint: Endpoint
    server: Peer
    destination: Endpoint
    direction: str
    road: Road
    method: bytes
    path: bytes
    host: bytes
    protocol: str
    status: int | None
    verdict: str
    reason: Reason
    policy: str | None = None
    rule: str | None = None
    backend: Endpoint | None = None
    latency_s: float | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    request_id: bytes = b""
    logged: tuple[str, ...] = ()
    weight: int = 1
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is kept out of every record: the values of ``headers``, named in lower case, and with
    ``query`` what follows the path of a URL. A password in a URL always is."""

    headers: frozenset[str] = frozenset()
    query: bool = False

    def header(self, name: str, value: str) -> str:
        """The value of a header, as it may be shown."""
        return REDACTED if name.lower() in self.headers else value


NO_REDACTION = Redaction()


def to_flow(record: RequestRecord, node: str, redaction: Redaction = NO_REDACTION) -> Json:
    """The record as one ``GetFlowsResponse``, client first whatever the verdict.

    A request refused here is an L7 ``REQUEST``, as in Hubble; one that was answered by a backend
    is a ``RESPONSE`` with its code and latency. The answer to a request has no line of its own.
    """
    when = timestamp(record.time)
    method = printable(record.method)
    url = url_of(record, redaction)
    http: Json = {"method": method, "url": url, "protocol": record.protocol}
    if record.status is not None:
        http["code"] = record.status
    if record.request_id:
        value = redaction.header(REQUEST_ID, printable(record.request_id))
        http["headers"] = [{"key": REQUEST_ID, "value": value}]
    answered = record.verdict in SERVED and record.status is not None
    l7: Json = {"type": "RESPONSE" if answered else "REQUEST"}
    latency_ns = round((record.latency_s or 0.0) * 1e9)
    if latency_ns:
        l7["latency_ns"] = str(latency_ns)
    l7["http"] = http
    summary = f"{record.protocol} {method} {url}"
    if answered:
        summary = f"{record.protocol} {record.status} {latency_ns // 1_000_000}ms ({method} {url})"
    flow: Json = {
        "time": when,
        "verdict": record.verdict,
        "IP": {
            "source": str(record.client_endpoint.address),
            "destination": str(record.destination.address),
            "ipVersion": f"IPv{record.destination.address.version}",
        },
        "l4": {
            "TCP": {
                "source_port": record.client_endpoint.port,
                "destination_port": record.destination.port,
            }
        },
        "source": endpoint_json(record.client),
        "destination": endpoint_json(record.server),
        "Type": "L7",
        "node_name": node,
        "l7": l7,
        "event_type": {"type": _ACCESS_LOG_EVENT},
        "traffic_direction": record.direction,
        "is_reply": False,
        "Summary": summary,
        "extensions": {"@type": STRUCT, "value": _extensions(record)},
    }
    if record.verdict == DROPPED and record.reason in _HUBBLE_DROP_REASONS:
        flow["drop_reason"], flow["drop_reason_desc"] = _HUBBLE_DROP_REASONS[record.reason]
    if record.policy is not None:
        flow[_attribution_key(record)] = [_policy_json(record.policy, record.rule)]
    return {"flow": flow, "node_name": node, "time": when}


def url_of(record: RequestRecord, redaction: Redaction = NO_REDACTION) -> str:
    """The URL that was asked for, printable; of a target that is no path, what was sent."""
    path = printable(record.path)
    if redaction.query:
        path = path.partition("?")[0].partition("#")[0]
    slash = ""
    if not path.startswith("/"):
        if "://" in path:
            return _PASSWORD.sub(rf"\1{REDACTED}@", path)
        slash = "/"
    host = printable(record.host) if record.host else str(record.destination)
    return f"http://{host}{slash}{path}"


def endpoint_json(peer: Peer) -> Json:
    """A peer as Hubble's ``Endpoint``: a pod by name and labels, else a reserved identity."""
    if isinstance(peer, Workload):
        return {
            "namespace": peer.namespace,
            "labels": sorted(f"k8s:{key}={value}" for key, value in peer.labels.items()),
            "pod_name": peer.name,
        }
    if isinstance(peer, Host):
        return {"identity": 1, "labels": ["reserved:host"]}
    return {"identity": 2, "labels": ["reserved:world"]}


def printable(value: bytes) -> str:
    """Text that is safe wherever it is shown: what is no printable character is escaped."""
    return escaped(value[:TEXT_MAX].decode("utf-8", "backslashreplace"))


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with nanoseconds, as Hubble writes it."""
    whole = int(seconds)
    nanoseconds = int((seconds - whole) * 1e9)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def lost_line(node: str, count: int, seconds: float) -> bytes:
    """The line, as Hubble writes it, that stands for ``count`` records which a reader missed."""
    lost = {"source": _LOST_SOURCE, "num_events_lost": str(count)}
    document = {"lost_events": lost, "node_name": node, "time": timestamp(seconds)}
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _extensions(record: RequestRecord) -> Json:
    """What l7proxy knows and Hubble has no key for."""
    known: Json = {
        "road": record.road.value,
        "reason": record.reason.value,
        "policy": record.policy,
        "rule": record.rule,
        "backend": None if record.backend is None else str(record.backend),
        "request_bytes": record.request_bytes,
        "response_bytes": record.response_bytes,
    }
    if record.weight != 1:
        known["stands_for"] = record.weight
    if record.cut:
        known["path_cut"] = True
    if record.logged:
        known["logged"] = [printable(each.encode()) for each in record.logged]
    return known


def _attribution_key(record: RequestRecord) -> str:
    side = "egress" if record.direction == "EGRESS" else "ingress"
    return f"{side}_{'denied' if record.verdict in (DROPPED, AUDIT) else 'allowed'}_by"


def _policy_json(policy: str, rule: str | None) -> Json:
    namespace, slash, name = policy.rpartition("/")
    found: Json = {"name": name}
    if slash:
        found["namespace"] = namespace
    if rule is not None:
        found["labels"] = [f"l7proxy:rule={rule}"]
    return found
