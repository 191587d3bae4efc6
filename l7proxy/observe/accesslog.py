"""The lines of the access log: the JSON of ``flows.to_flow``, several times faster.

What stays the same for a connection, and what stays the same for a verdict, is encoded once by
``to_flow`` and kept; only the rest is written per request. A test holds the two to one meaning.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii as quote

from l7proxy.observe.flows import (
    NO_REDACTION,
    REQUEST_ID,
    SERVED,
    Json,
    Redaction,
    RequestRecord,
    printable,
    timestamp,
    to_flow,
    url_of,
)
from l7proxy.policy.verdict import Road
from l7proxy.proxy.ports import Endpoint
from l7proxy.reasons import Reason

_CONNECTION_KEYS = (
    "IP", "l4", "source", "destination", "Type", "node_name", "event_type", "traffic_direction",
    "is_reply",
)  # fmt: skip
_PER_REQUEST = ("time", "l7", "Summary", "extensions")
_PER_REQUEST_EXTENSIONS = ("request_bytes", "response_bytes", "stands_for", "path_cut")
_CACHE_MAX = 4096

_VerdictKey = tuple[
    str, Reason, str | None, str | None, Endpoint | None, Road, str, tuple[str, ...]
]


class LineEncoder:
    """Encodes records of one node. Its caches are bounded and hold only derived text."""

    def __init__(self, node: str, redaction: Redaction = NO_REDACTION) -> None:
        self._node = node
        self._redaction = redaction
        self._node_name = quote(node)
        self._connections: dict[int, tuple[RequestRecord, str]] = {}
        self._verdicts: dict[_VerdictKey, tuple[str, str]] = {}
        self._second = -1
        self._second_text = ""

    def encode(self, record: RequestRecord) -> bytes:
        """One line, with its line end."""
        when = self._timestamp(record.time)
        verdict, extensions = self._verdict(record)
        method = printable(record.method)
        url = quote(url_of(record, self._redaction))
        answered = record.verdict in SERVED and record.status is not None
        latency_ns = round((record.latency_s or 0.0) * 1e9)
        latency = f'"latency_ns":"{latency_ns}",' if latency_ns else ""
        code = "" if record.status is None else f',"code":{record.status}'
        headers = ""
        if record.request_id:
            value = quote(self._redaction.header(REQUEST_ID, printable(record.request_id)))
            headers = f',"headers":[{{"key":"{REQUEST_ID}","value":{value}}}]'
        sampled = "" if record.weight == 1 else f',"stands_for":{record.weight}'
        if record.cut:
            sampled += ',"path_cut":true'
        quoted_method, protocol = quote(method), quote(record.protocol)
        request = f"{quoted_method[1:-1]} {url[1:-1]}"
        milliseconds = latency_ns // 1_000_000
        outcome = f"{record.status} {milliseconds}ms ({request})" if answered else request
        return (
            f'{{"flow":{{"time":"{when}",{verdict},{self._connection(record)},'
            f'"l7":{{"type":"{"RESPONSE" if answered else "REQUEST"}",{latency}"http":'
            f'{{"method":{quoted_method},"url":{url},"protocol":{protocol}{code}{headers}}}}},'
            f'"Summary":"{protocol[1:-1]} {outcome}",'
            f'{extensions},"request_bytes":{record.request_bytes},'
            f'"response_bytes":{record.response_bytes}{sampled}}}}}}},'
            f'"node_name":{self._node_name},"time":"{when}"}}\n'
        ).encode("ascii")

    def _timestamp(self, seconds: float) -> str:
        whole = int(seconds)
        if whole != self._second:
            self._second, self._second_text = whole, timestamp(whole)[:20]
        return f"{self._second_text}{int((seconds - whole) * 1e9):09d}Z"

    def _connection(self, record: RequestRecord) -> str:
        """Known by the identity of its endpoint object, which lives as long as the connection."""
        found = self._connections.get(id(record.client_endpoint))
        if found is not None:
            known = found[0]
            if (
                known.client_endpoint is record.client_endpoint
                and known.destination is record.destination
                and known.client is record.client
                and known.server is record.server
                and known.direction == record.direction
            ):
                return found[1]
        flow = to_flow(record, self._node)["flow"]
        text = _members({key: flow[key] for key in _CONNECTION_KEYS})
        if len(self._connections) >= _CACHE_MAX:
            self._connections.clear()
        self._connections[id(record.client_endpoint)] = (record, text)
        return text

    def _verdict(self, record: RequestRecord) -> tuple[str, str]:
        key = (
            record.verdict, record.reason, record.policy, record.rule, record.backend,
            record.road, record.direction, record.logged,
        )  # fmt: skip
        found = self._verdicts.get(key)
        if found is None:
            flow = to_flow(record, self._node)["flow"]
            skipped = {*_CONNECTION_KEYS, *_PER_REQUEST}
            own = _members({name: flow[name] for name in flow if name not in skipped})
            fixed = dict(flow["extensions"]["value"])
            for name in _PER_REQUEST_EXTENSIONS:
                fixed.pop(name, None)
            kind = quote(flow["extensions"]["@type"])
            extensions = f'"extensions":{{"@type":{kind},"value":{{{_members(fixed)}'
            if len(self._verdicts) >= _CACHE_MAX:
                self._verdicts.clear()
            found = self._verdicts[key] = (own, extensions)
        return found


def _members(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))[1:-1]
