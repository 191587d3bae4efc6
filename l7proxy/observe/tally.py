"""What one worker counts: plain dictionaries on the hot path, a file for the agent to read.

The file is replaced whole, so that a reader never sees half of it and the counts of a worker that
was killed stay. The worker that takes its place goes on from them.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from pathlib import Path
from typing import Any, NamedTuple

from l7proxy.observe.flows import RequestRecord
from l7proxy.policy.verdict import Road
from l7proxy.reasons import Reason

LATENCY_BOUNDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip

_METHODS = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")
}
_PROTOCOLS = frozenset({"HTTP/1.0", "HTTP/1.1"})
OTHER = "other"
ELSEWHERE = -1
"""In place of a status: ``Tally.outcomes`` tells it, of all such requests together."""

_SERIES_MAX = 4096


class RequestKey(NamedTuple):
    """The labels that requests are counted by; every one takes its values from a bounded set."""

    method: str
    protocol: str
    status: int
    direction: str
    verdict: str
    reason: str
    road: str
    policy: str
    rule: str


class ConnectionKey(NamedTuple):
    direction: str
    road: str
    reason: str


class Tally:
    """Counts since the worker's slot was first used, and two gauges of the moment."""

    def __init__(self) -> None:
        self.requests: dict[RequestKey, int] = {}
        self.outcomes: dict[tuple[str, str, int, str], int] = {}
        """By method, protocol, status and direction; of requests that were counted before they
        were answered, by somebody who then does not know why they were let through."""
        self.latency: dict[tuple[str, str], list[float]] = {}
        self.connections: dict[ConnectionKey, int] = {}
        self.upstream_failures: dict[str, int] = {}
        self.upstream_connects = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.lost = 0
        self.exchanges = 0
        self.open_connections = 0

    def request(self, record: RequestRecord) -> None:
        method = _METHODS.get(record.method, OTHER)
        key = RequestKey(
            method,
            record.protocol if record.protocol in _PROTOCOLS else OTHER,
            record.status or 0,
            record.direction,
            record.verdict,
            record.reason.value,
            record.road.value,
            record.policy or "",
            record.rule or "",
        )
        requests = self.requests
        if key not in requests and len(requests) >= _SERIES_MAX:
            key = key._replace(status=key.status // 100 * 100, policy=OTHER, rule=OTHER)
        requests[key] = requests.get(key, 0) + 1
        self.request_bytes += record.request_bytes
        self.response_bytes += record.response_bytes
        if record.latency_s is not None:
            self._observe(method, record.direction, record.latency_s)

    def _observe(self, method: str, direction: str, seconds: float) -> None:
        buckets = self.latency.get((method, direction))
        if buckets is None:
            buckets = self.latency[method, direction] = [0.0] * (len(LATENCY_BOUNDS) + 2)
        buckets[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        buckets[-1] += seconds

    def connection(self, direction: str, road: Road, reason: Reason) -> None:
        key = ConnectionKey(direction, road.value, reason.value)
        self.connections[key] = self.connections.get(key, 0) + 1

    def upstream_failed(self, reason: Reason) -> None:
        name = reason.value
        self.upstream_failures[name] = self.upstream_failures.get(name, 0) + 1

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON that ``from_json`` reads."""
        return {
            "requests": [[*key, count] for key, count in list(self.requests.items())],
            "latency": [[*key, list(counts)] for key, counts in list(self.latency.items())],
            "connections": [[*key, count] for key, count in list(self.connections.items())],
            "upstream_failures": dict(self.upstream_failures),
            **{name: getattr(self, name) for name in (*_COUNTERS, *_GAUGES)},
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Tally:
        """Raises KeyError, TypeError or ValueError if ``stored`` is nothing ``to_json`` made."""
        tally = cls()
        for *labels, count in stored["requests"]:
            tally.requests[RequestKey(*labels)] = int(count)
        for method, direction, counts in stored["latency"]:
            if len(counts) != len(LATENCY_BOUNDS) + 2:
                raise ValueError("latency buckets of another version")
            tally.latency[method, direction] = [float(count) for count in counts]
        for *labels, count in stored["connections"]:
            tally.connections[ConnectionKey(*labels)] = int(count)
        tally.upstream_failures.update(stored["upstream_failures"])
        for name in (*_COUNTERS, *_GAUGES):
            setattr(tally, name, int(stored[name]))
        return tally

    def add(self, other: Tally) -> None:
        """Take the counts and gauges of ``other`` in."""
        for key, count in other.requests.items():
            self.requests[key] = self.requests.get(key, 0) + count
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        for labels, counts in other.latency.items():
            mine = self.latency.setdefault(labels, [0.0] * len(counts))
            self.latency[labels] = [left + right for left, right in zip(mine, counts, strict=True)]
        for connection, count in other.connections.items():
            self.connections[connection] = self.connections.get(connection, 0) + count
        for reason, count in other.upstream_failures.items():
            self.upstream_failures[reason] = self.upstream_failures.get(reason, 0) + count
        for name in (*_COUNTERS, *_GAUGES):
            setattr(self, name, getattr(self, name) + getattr(other, name))


_COUNTERS = ("upstream_connects", "request_bytes", "response_bytes", "lost")
_GAUGES = ("exchanges", "open_connections")


def save(tally: Tally, path: Path) -> None:
    """Replace the file at ``path``. Raises OSError."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(tally.to_json(), separators=(",", ":")))
    fresh.replace(path)


def load(path: Path) -> Tally:
    """The stored tally; an empty one where there is none that can be read."""
    try:
        return Tally.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return Tally()


def resume(path: Path) -> Tally:
    """The counts a former worker left at ``path``, with the gauges at nought."""
    tally = load(path)
    for name in _GAUGES:
        setattr(tally, name, 0)
    return tally


def slot_path(directory: Path, slot: int) -> Path:
    """Where worker number ``slot`` keeps its tally."""
    return directory / f"worker-{slot}.json"


def load_all(directory: Path) -> Tally:
    """The sum over all workers that ever kept a tally in ``directory``."""
    total = Tally()
    for path in sorted(directory.glob("worker-*.json")):
        total.add(load(path))
    return total


def clear(directory: Path) -> None:
    """Remove what an earlier agent left. Raises OSError."""
    for path in directory.glob("worker-*"):
        path.unlink(missing_ok=True)
