"""The node's metrics: the workers' tallies and the agent's facts as Prometheus families.

Hubble's and Cilium's names where they have one, so that existing dashboards work; the rest starts
with ``l7proxy_``. No label is taken from a path or a header.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from l7proxy import __version__
from l7proxy.observe import tally as tallies
from l7proxy.observe.flows import DROPPED
from l7proxy.observe.tally import ELSEWHERE, LATENCY_BOUNDS, RequestKey, Tally
from l7proxy.policy.verdict import Road
from l7proxy.reasons import BACKEND_FAULTS, POLICY_DENIALS, Reason

_PROXY_TYPE = "l7proxy"
_REPORTERS = {"INGRESS": "server", "EGRESS": "client"}
_POLICY_DENIALS = frozenset(each.value for each in (*POLICY_DENIALS, Reason.NOT_READY))

# Hubble's words for what matched: "none" is refused for want of a rule, "all" is allowed because no
# policy speaks of it.
_MATCHES = {
    Reason.NO_POLICY.value: "all",
    Reason.SAME_WORKLOAD.value: "all",
    Reason.L4_DEFAULT_DENY.value: "none",
    Reason.NOT_READY.value: "none",
}
_RULE_MATCH = "l3-l4"

# Datapath counters with a metric of their own; every other is one of datapath_events_total.
SHORT_CIRCUITED_BYTES = "short_circuit_bytes"
SPLICED_CONNECTIONS = "connections_splice"
KERNEL_CONNECTIONS = "connections_kernel"
LOST_EVENTS = "flow_events_lost"
# Datapath counters that are policy verdicts too.
_KERNEL_VERDICTS = (
    (SPLICED_CONNECTIONS, "ingress", "forwarded", None),
    ("connect_refused", "egress", "dropped", Reason.L4_REFUSED),
    ("server_refused", "ingress", "dropped", Reason.L4_REFUSED),
    ("not_ready", "ingress", "dropped", Reason.NOT_READY),
)
_NAMED = frozenset({SHORT_CIRCUITED_BYTES, SPLICED_CONNECTIONS, KERNEL_CONNECTIONS, LOST_EVENTS})


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """Of one process: bytes of memory, open files, and how many it may have open."""

    resident_bytes: int
    open_files: int
    most_files: int


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the agent knows itself at the moment of a scrape; times in seconds since the epoch."""

    revision: int = 0
    applied_at: float = 0.0
    apply_errors: int = 0
    faults: int = 0
    workers: int = 0
    worker_restarts: int = 0
    processes: Mapping[int, ProcessFacts] = field(default_factory=dict)
    """Of the workers, by slot."""
    errors: int = 0
    late_seconds: float = 0.0
    clock_steps: int = 0
    pins_restored: int = 0
    retransmitted_segments: int = 0
    flow_events_lost: int = 0
    tables: Mapping[str, int] = field(default_factory=dict)
    table_limits: Mapping[str, int] = field(default_factory=dict)
    datapath: str = "userspace"
    datapath_counters: Mapping[str, int] = field(default_factory=dict)
    kernel: Tally = field(default_factory=Tally)
    """What the kernel has counted of requests."""


class NodeCollector(Collector):
    """Sums the tallies under ``directory`` at each scrape, and asks for the facts."""

    def __init__(self, directory: Path, facts: Callable[[], NodeFacts]) -> None:
        self._directory = directory
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        total = tallies.load_all(self._directory)
        facts = self._facts()
        total.add(facts.kernel)
        yield from _http(total)
        yield from _policy(total, facts)
        yield from _proxy(total)
        yield from _connections(total, facts)
        yield from _agent(facts)
        yield from _troubles(facts)

    def describe(self) -> list[Metric]:
        """Nothing: a registry that asked would have to scrape to know the names."""
        return []


def connections_by_road(total: Tally, facts: NodeFacts) -> dict[str, int]:
    """Connections since the agent started, or for the kernel's roads since its state was made."""
    sums = dict.fromkeys((road.value for road in Road), 0)
    sums[Road.SPLICE.value] = facts.datapath_counters.get(SPLICED_CONNECTIONS, 0)
    sums[Road.KERNEL.value] = facts.datapath_counters.get(KERNEL_CONNECTIONS, 0)
    sums[Road.REFUSED.value] = sum(
        facts.datapath_counters.get(counter, 0)
        for counter, _, action, _ in _KERNEL_VERDICTS
        if action == "dropped"
    )
    for connection, count in total.connections.items():
        sums[connection.road] = sums.get(connection.road, 0) + count
    return sums


def registry(directory: Path, facts: Callable[[], NodeFacts]) -> CollectorRegistry:
    """A registry that holds the node's metrics and nothing else."""
    found = CollectorRegistry()
    found.register(NodeCollector(directory, facts))
    ProcessCollector("l7proxy_agent", registry=found)
    return found


def _http(total: Tally) -> Iterator[Metric]:
    requests = _counter(
        "hubble_http_requests",
        "HTTP requests decided; status 0: the client got no answer",
        ("method", "protocol", "status", "reporter"),
    )
    sums = _sums(
        total,
        lambda key: (key.method, key.protocol, str(key.status), _reporter(key.direction)),
    )
    for method, protocol, status, direction in total.outcomes:
        count = total.outcomes[method, protocol, status, direction]
        _add(sums, (method, protocol, str(status), _reporter(direction)), count)
    for labels, count in sums.items():
        if labels[2] != str(ELSEWHERE):
            requests.add_metric(labels, count)
    yield requests
    duration = HistogramMetricFamily(
        "hubble_http_request_duration_seconds",
        "From the complete request head to the first byte of the response",
        labels=["method", "reporter"],
    )
    for (method, direction), counts in _latencies(total).items():
        cumulated = 0.0
        buckets = []
        bounds = (*(str(bound) for bound in LATENCY_BOUNDS), "+Inf")
        for bound, seen in zip(bounds, counts[:-1], strict=True):
            cumulated += seen
            buckets.append((bound, cumulated))
        duration.add_metric([method, _reporter(direction)], buckets, sum_value=counts[-1])
    yield duration


def _latencies(total: Tally) -> dict[tuple[str, str], list[float]]:
    """By method and direction, as in ``Tally.latency``, of every request that was answered.

    The kernel times what servers answer; its own refusals follow the verdict at once.
    """
    found = {key: list(counts) for key, counts in total.latency.items()}
    for key, count in total.requests.items():
        if key.road == Road.KERNEL.value and key.status > 0:
            nothing = [0.0] * (len(LATENCY_BOUNDS) + 2)
            found.setdefault((key.method, key.direction), nothing)[0] += count
    return found


def _policy(total: Tally, facts: NodeFacts) -> Iterator[Metric]:
    verdicts = _counter(
        "hubble_policy_verdicts", "Policy verdicts", ("direction", "match", "action")
    )
    drops = _counter("hubble_drop", "What was refused, by reason", ("reason", "protocol"))
    layer7 = _counter("cilium_policy_l7", "Requests by what became of them", ("rule", "proxy_type"))
    verdict_sums: dict[tuple[str, ...], int] = {}
    drop_sums: dict[tuple[str, ...], int] = {}
    layer7_sums = dict.fromkeys(("received", "forwarded", "denied", "parse_errors"), 0)
    for key, count in total.requests.items():
        outcome = _outcome(key)
        layer7_sums["received"] += count
        layer7_sums[outcome] += count
        if outcome != "parse_errors":
            _add(verdict_sums, (key.direction.lower(), "l7/http", key.verdict.lower()), count)
        if key.verdict == DROPPED:
            _add(drop_sums, (key.reason, "HTTP"), count)
    for connection, count in total.connections.items():
        refused = connection.road == Road.REFUSED.value
        match = _MATCHES.get(connection.reason, _RULE_MATCH)
        action = "dropped" if refused else "redirected"
        _add(verdict_sums, (connection.direction.lower(), match, action), count)
        if refused:
            _add(drop_sums, (connection.reason, "TCP"), count)
    for counter, direction, action, reason in _KERNEL_VERDICTS:
        if count := facts.datapath_counters.get(counter, 0):
            match = _RULE_MATCH if reason is None else _MATCHES.get(reason.value, _RULE_MATCH)
            _add(verdict_sums, (direction, match, action), count)
            if reason is not None:
                _add(drop_sums, (reason.value, "TCP"), count)
    for family, sums in ((verdicts, verdict_sums), (drops, drop_sums)):
        for labels, count in sums.items():
            family.add_metric(labels, count)
    for rule, count in layer7_sums.items():
        layer7.add_metric((rule, _PROXY_TYPE), count)
    yield verdicts
    yield drops
    yield layer7


def _proxy(total: Tally) -> Iterator[Metric]:
    requests = _counter(
        "l7proxy_requests",
        "Requests by road, by the policy and rule that decided, and by verdict",
        ("road", "policy", "rule", "verdict"),
    )
    for labels, count in _sums(
        total, lambda key: (key.road, key.policy, key.rule, key.verdict)
    ).items():
        requests.add_metric(labels, count)
    yield requests
    bodies = _counter("l7proxy_http_bytes", "Bytes of requests and responses", ("kind",))
    bodies.add_metric(("request",), total.request_bytes)
    bodies.add_metric(("response",), total.response_bytes)
    yield bodies
    yield GaugeMetricFamily(
        "l7proxy_exchanges_in_progress", "Requests being served", value=total.exchanges
    )
    yield GaugeMetricFamily(
        "l7proxy_connections_open", "Client connections to the proxy", value=total.open_connections
    )
    yield CounterMetricFamily(
        "l7proxy_upstream_connects",
        "Connections made to backends",
        value=total.upstream_connects,
    )
    failures = _counter("l7proxy_upstream_failures", "Failures of backends", ("reason",))
    # All from the start: where a series begins at 1, Prometheus sees no increase.
    failed = {reason.value: 0 for reason in BACKEND_FAULTS} | total.upstream_failures
    for reason, count in failed.items():
        failures.add_metric((reason,), count)
    yield failures


def _connections(total: Tally, facts: NodeFacts) -> Iterator[Metric]:
    counters = facts.datapath_counters
    connections = _counter("l7proxy_connections", "Connections by road", ("road",))
    for road, count in connections_by_road(total, facts).items():
        connections.add_metric((road,), count)
    yield connections
    yield CounterMetricFamily(
        "l7proxy_short_circuited_bytes",
        "Bytes moved socket to socket in the kernel",
        value=counters.get(SHORT_CIRCUITED_BYTES, 0),
    )
    yield CounterMetricFamily(
        "l7proxy_flow_events_lost",
        "Flow records and log lines dropped because their reader was too slow",
        value=total.lost + facts.flow_events_lost + counters.get(LOST_EVENTS, 0),
    )
    events = _counter("l7proxy_datapath_events", "What the kernel programs met", ("event",))
    for name, count in counters.items():
        if name not in _NAMED:
            events.add_metric((name,), count)
    yield events


def _agent(facts: NodeFacts) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "l7proxy_policy_revision", "Policy set in force; 0: none yet", value=facts.revision
    )
    yield GaugeMetricFamily(
        "l7proxy_policy_applied_timestamp_seconds",
        "When the policy set in force was applied",
        value=facts.applied_at,
    )
    yield CounterMetricFamily(
        "l7proxy_policy_apply_errors",
        "Policy or workload changes that were refused",
        value=facts.apply_errors,
    )
    yield GaugeMetricFamily(
        "l7proxy_policy_faults",
        "What keeps the files as they are now from being in force",
        value=facts.faults,
    )
    tables = GaugeMetricFamily("l7proxy_table_entries", "Entries of a table", labels=["table"])
    for name, size in facts.tables.items():
        tables.add_metric([name], size)
    yield tables
    limits = GaugeMetricFamily(
        "l7proxy_table_limit", "Entries that a table has room for", labels=["table"]
    )
    for name, size in facts.table_limits.items():
        limits.add_metric([name], size)
    yield limits
    yield GaugeMetricFamily("l7proxy_workers", "Proxy workers that run", value=facts.workers)
    yield CounterMetricFamily(
        "l7proxy_worker_restarts",
        "Workers that died and were replaced",
        value=facts.worker_restarts,
    )
    build = GaugeMetricFamily(
        "l7proxy_build_info", "Always 1", labels=["version", "python", "datapath"]
    )
    build.add_metric([__version__, platform.python_version(), facts.datapath], 1)
    yield build


def _troubles(facts: NodeFacts) -> Iterator[Metric]:
    for name, text, count in (
        ("agent_errors", "Errors that the agent has reported in its log", facts.errors),
        (
            "agent_late_seconds",
            "Seconds by which the agent came late: it was frozen, or got no processor",
            facts.late_seconds,
        ),
        ("clock_steps", "Times that the wall clock was set while the agent ran", facts.clock_steps),
        ("pins_restored", "Pins in bpffs that were gone and put back", facts.pins_restored),
        (
            "tcp_retransmitted_segments",
            "TCP segments that covered namespaces had to send again",
            facts.retransmitted_segments,
        ),
    ):
        yield CounterMetricFamily(f"l7proxy_{name}", text, value=count)
    for name, text, values in (
        (
            "resident_memory_bytes",
            "Memory of a worker",
            {slot: each.resident_bytes for slot, each in facts.processes.items()},
        ),
        (
            "open_fds",
            "Files that a worker has open",
            {slot: each.open_files for slot, each in facts.processes.items()},
        ),
        (
            "max_fds",
            "Files that a worker may have open",
            {slot: each.most_files for slot, each in facts.processes.items()},
        ),
    ):
        gauge = GaugeMetricFamily(f"l7proxy_worker_{name}", text, labels=["worker"])
        for slot, value in values.items():
            gauge.add_metric([str(slot)], value)
        yield gauge


def _outcome(key: RequestKey) -> str:
    """Cilium's word for what became of a request; one allowed and not served was forwarded."""
    if key.verdict != DROPPED:
        return "forwarded"
    return "denied" if key.reason in _POLICY_DENIALS else "parse_errors"


def _reporter(direction: str) -> str:
    return _REPORTERS.get(direction, "unknown")


def _counter(name: str, text: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=labels)


def _sums(
    total: Tally, labels_of: Callable[[RequestKey], tuple[str, ...]]
) -> dict[tuple[str, ...], int]:
    sums: dict[tuple[str, ...], int] = {}
    for key, count in total.requests.items():
        _add(sums, labels_of(key), count)
    return sums


def _add(sums: dict[tuple[str, ...], int], labels: tuple[str, ...], count: int) -> None:
    sums[labels] = sums.get(labels, 0) + count
