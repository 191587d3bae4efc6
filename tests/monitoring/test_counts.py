"""A real Prometheus knows what the client knows, to the last request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.nodes import eventually
from tests.monitoring.conftest import Watched
from tests.monitoring.files import ALERTS, EXPRESSIONS, ONLY_IN_THE_KERNEL, RECORDED, levels
from tests.monitoring.prometheus import Prometheus
from tests.monitoring.promql import named_in

pytestmark = pytest.mark.needs_command("prometheus")

ROUNDS = 25
REQUESTS = "hubble_http_requests_total"
LATENCY = "hubble_http_request_duration_seconds_count"


@pytest.fixture(scope="module")
def prometheus(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has seen the node before the load, during it, and has all of it."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with Prometheus(folder, watched.metrics) as running:
        eventually(lambda: running.query('up{job="l7proxy"} == 1'))
        watched.client.mixed(ROUNDS)
        wanted = watched.client.counts.total()
        eventually(lambda: sum(running.query(f"sum({REQUESTS})").values()) >= wanted)
        yield running


def by(found: dict[frozenset[tuple[str, str]], float], *labels: str) -> Counter[tuple[str, ...]]:
    return Counter(
        {tuple(dict(each)[label] for label in labels): int(n) for each, n in found.items()}
    )


def test_requests_by_method_and_status_are_the_clients_own_count(
    watched: Watched, prometheus: Prometheus
) -> None:
    counts = watched.client.counts
    assert {method for method, _ in counts} == {"GET", "POST", "other"}
    assert {status for _, status in counts} == {"0", "200", "400", "403", "501", "502", "505"}
    assert counts.total() > 300
    found = prometheus.query(f"sum by (method, status) ({REQUESTS})")
    assert by(found, "method", "status") == counts


def test_the_latency_histogram_has_every_answered_request(
    watched: Watched, prometheus: Prometheus
) -> None:
    answered: Counter[tuple[str, ...]] = Counter()
    for (method, status), count in watched.client.counts.items():
        if status != "0":
            answered[method,] += count
    assert by(prometheus.query(f"sum by (method) ({LATENCY})"), "method") == answered


def test_every_count_of_the_same_requests_is_the_same(
    watched: Watched, prometheus: Prometheus
) -> None:
    counts = watched.client.counts
    cut_off, audited = watched.client.cut_off, watched.client.audited
    statuses: Counter[str] = Counter()
    for (_, status), count in counts.items():
        statuses[status] += count
    malformed = statuses["400"] + statuses["501"] + statuses["505"]
    closed = statuses["502"] + cut_off

    verdicts = by(prometheus.query("sum by (verdict) (l7proxy_requests_total)"), "verdict")
    assert verdicts == {
        ("FORWARDED",): statuses["200"] - cut_off - audited,
        ("AUDIT",): audited,
        ("DROPPED",): statuses["403"] + malformed,
        ("ERROR",): closed + statuses["0"],
    }
    drops = by(prometheus.query('hubble_drop_total{protocol="HTTP"}'), "reason")
    assert drops.total() == statuses["403"] + malformed
    assert drops["rule-blocked",] == counts["POST", "403"]
    assert drops["no-rule-matched",] == statuses["403"] - counts["POST", "403"]
    layer7 = by(prometheus.query("cilium_policy_l7_total"), "rule")
    assert layer7["received",] == counts.total()
    assert layer7["parse_errors",] == malformed
    policy = by(prometheus.query('hubble_policy_verdicts_total{match="l7/http"}'), "action")
    assert policy.total() == counts.total() - malformed
    assert policy["audit",] == audited
    failures = by(prometheus.query("l7proxy_upstream_failures_total"), "reason")
    assert failures == Counter({("upstream-closed",): closed})


def test_prometheus_takes_every_rule_and_fires_no_alert(prometheus: Prometheus) -> None:
    eventually(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()))
    rules = prometheus.rules()
    assert {rule["name"] for rule in rules} == {*RECORDED, *(rule["alert"] for rule in ALERTS)}
    assert not [rule["name"] for rule in rules if rule.get("state") == "firing"]


def test_recorded_series_have_the_labels_that_their_names_begin_with(
    prometheus: Prometheus,
) -> None:
    found = {name: eventually(lambda name=name: prometheus.query(name)) for name in RECORDED}
    for name, series in found.items():
        assert {label for each in series for label, _ in each} == {"__name__", *levels(name)}


def test_prometheus_has_an_answer_for_all_that_the_dashboard_asks(prometheus: Prometheus) -> None:
    """And takes every expression. What only the kernel has is not there."""
    unanswered = {
        where: expression for where, expression in EXPRESSIONS if not prometheus.query(expression)
    }
    kernels = {
        where
        for where, expression in EXPRESSIONS
        if {each.metric for each in named_in(expression).selectors} & ONLY_IN_THE_KERNEL
    }
    assert {where for where in unanswered if where.startswith(("panel", "annotation"))} <= kernels
