from __future__ import annotations

import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from l7proxy.observe import tally
from l7proxy.observe.metrics import NodeFacts, registry
from l7proxy.observe.recorder import Recorder, RecorderSettings, open_recorder
from l7proxy.policy.verdict import Road
from l7proxy.reasons import Reason
from tests.observe.records import denied, record


@pytest.fixture
def node(tmp_path: Path) -> CollectorRegistry:
    return registry(tmp_path, NodeFacts)


def value(node: CollectorRegistry, name: str, **labels: str) -> float | None:
    return node.get_sample_value(name, labels)


def test_two_workers_are_summed(tmp_path: Path, node: CollectorRegistry) -> None:
    for slot, count in ((0, 3), (1, 4)):
        recorder = Recorder("n", tally.slot_path(tmp_path, slot))
        for _ in range(count):
            recorder.record(record())
        recorder.close()

    served = {"method": "GET", "protocol": "HTTP/1.1", "status": "200", "reporter": "server"}
    assert value(node, "hubble_http_requests_total", **served) == 7
    own = {"road": "proxy", "policy": "default/users-api", "rule": "list", "verdict": "FORWARDED"}
    assert value(node, "l7proxy_requests_total", **own) == 7
    seconds = {"method": "GET", "reporter": "server"}
    assert value(node, "hubble_http_request_duration_seconds_count", **seconds) == 7
    assert value(node, "hubble_http_request_duration_seconds_bucket", le="0.001", **seconds) == 0
    assert value(node, "hubble_http_request_duration_seconds_bucket", le="0.0025", **seconds) == 7
    total = value(node, "hubble_http_request_duration_seconds_sum", **seconds)
    assert total == pytest.approx(7 * 0.0021)
    assert value(node, "l7proxy_http_bytes_total", kind="response") == 7 * 512


def test_outcomes_have_cilium_and_hubble_names(tmp_path: Path, node: CollectorRegistry) -> None:
    recorder = Recorder("n", tally.slot_path(tmp_path, 0))
    recorder.record(record())
    recorder.record(denied())
    recorder.record(denied(reason=Reason.BAD_HOST, status=400, policy=None))
    recorder.record(record(verdict="ERROR", status=503, reason=Reason.UPSTREAM_REFUSED))
    recorder.record(record(verdict="AUDIT", reason=Reason.NO_RULE_MATCHED, rule=None))
    recorder.connection("INGRESS", Road.PROXY, Reason.HTTP_RULES)
    recorder.connection("INGRESS", Road.REFUSED, Reason.L4_DEFAULT_DENY)
    recorder.connection("INGRESS", Road.REFUSED, Reason.L4_DENY_RULE)
    recorder.connection("EGRESS", Road.PROXY, Reason.NO_POLICY)
    recorder.exchange_started()
    recorder.upstream_connected()
    recorder.upstream_failed(Reason.UPSTREAM_REFUSED)
    recorder.close()

    layer7 = {
        rule: value(node, "cilium_policy_l7_total", rule=rule, proxy_type="l7proxy")
        for rule in ("received", "forwarded", "denied", "parse_errors")
    }
    assert layer7 == {"received": 5, "forwarded": 3, "denied": 1, "parse_errors": 1}
    assert value(node, "hubble_drop_total", reason="no-rule-matched", protocol="HTTP") == 1
    assert value(node, "hubble_drop_total", reason="bad-host", protocol="HTTP") == 1
    assert value(node, "hubble_drop_total", reason="l4-default-deny", protocol="TCP") == 1
    for direction, match, action in (
        ("ingress", "l7/http", "dropped"),
        ("ingress", "l7/http", "forwarded"),
        ("ingress", "l7/http", "error"),
        ("ingress", "l7/http", "audit"),
        ("ingress", "l3-l4", "redirected"),
        ("ingress", "l3-l4", "dropped"),
        ("ingress", "none", "dropped"),
        ("egress", "all", "redirected"),
    ):
        verdict = {"direction": direction, "match": match, "action": action}
        assert value(node, "hubble_policy_verdicts_total", **verdict) == 1, verdict
    assert value(node, "l7proxy_connections_total", road="proxy") == 2
    assert value(node, "l7proxy_connections_total", road="refused") == 2
    assert value(node, "l7proxy_connections_open") == 2
    assert value(node, "l7proxy_exchanges_in_progress") == 1
    assert value(node, "l7proxy_upstream_connects_total") == 1
    assert value(node, "l7proxy_upstream_failures_total", reason="upstream-refused") == 1
    assert value(node, "l7proxy_upstream_failures_total", reason="upstream-timeout") == 0


def test_every_answered_request_is_in_the_histogram_whoever_answered(tmp_path: Path) -> None:
    """Refusals by the kernel too, which times only what servers answer."""
    kernel = tally.Tally()
    kernel.request(denied(road=Road.KERNEL))
    kernel.request(denied(road=Road.KERNEL, status=None, reason=Reason.CONNECTION_RESET))
    kernel.requests[
        tally.RequestKey(
            "GET",
            "HTTP/1.1",
            tally.ELSEWHERE,
            "INGRESS",
            "FORWARDED",
            "rule-allowed",
            "kernel",
            "default/users-api",
            "list",
        )
    ] = 2
    kernel.outcomes["GET", "HTTP/1.1", 200, "INGRESS"] = 2
    buckets = [0.0] * (len(tally.LATENCY_BOUNDS) + 1)
    buckets[1] = 2.0
    kernel.latency["GET", "INGRESS"] = [*buckets, 0.0014]
    recorder = Recorder("n", tally.slot_path(tmp_path, 0))
    recorder.record(record())
    recorder.close()
    node = registry(tmp_path, lambda: NodeFacts(kernel=kernel))

    requests = {"method": "GET", "protocol": "HTTP/1.1", "reporter": "server"}
    statuses = {"200": 3, "403": 1, "0": 1}
    for status, count in statuses.items():
        assert value(node, "hubble_http_requests_total", status=status, **requests) == count
    seconds = {"method": "GET", "reporter": "server"}
    assert value(node, "hubble_http_request_duration_seconds_count", **seconds) == 4
    assert value(node, "hubble_http_request_duration_seconds_bucket", le="0.0005", **seconds) == 1
    assert value(node, "hubble_http_request_duration_seconds_bucket", le="0.001", **seconds) == 3


def test_a_worker_that_was_killed_leaves_its_counts_and_not_its_gauges(
    tmp_path: Path, node: CollectorRegistry
) -> None:
    path = tally.slot_path(tmp_path, 0)
    first = tally.Tally()
    first.request(record())
    first.exchanges = 5
    tally.save(first, path)

    Recorder("n", path).close()

    served = {"method": "GET", "protocol": "HTTP/1.1", "status": "200", "reporter": "server"}
    assert value(node, "hubble_http_requests_total", **served) == 1
    assert value(node, "l7proxy_exchanges_in_progress") == 0


def test_what_a_client_makes_up_does_not_become_a_label(
    tmp_path: Path, node: CollectorRegistry
) -> None:
    recorder = Recorder("n", tally.slot_path(tmp_path, 0))
    for number in range(100):
        recorder.record(record(method=f"M{number}".encode(), protocol=f"HTTP/{number}"))
    recorder.close()

    made_up = {"method": "other", "protocol": "other", "status": "200", "reporter": "server"}
    assert value(node, "hubble_http_requests_total", **made_up) == 100


def test_the_number_of_series_is_bounded_and_nothing_goes_uncounted() -> None:
    counts = tally.Tally()
    for number in range(10_000):
        counts.request(record(rule=f"rule-{number}"))

    assert len(counts.requests) < 4200
    assert sum(counts.requests.values()) == 10_000


def test_a_broken_tally_counts_as_none(tmp_path: Path, node: CollectorRegistry) -> None:
    tally.slot_path(tmp_path, 0).write_text('{"requests": [["GET"]], "latency"')

    assert value(node, "l7proxy_upstream_connects_total") == 0


def test_the_agents_facts_are_exposed(tmp_path: Path) -> None:
    facts = NodeFacts(
        revision=7,
        applied_at=1790000000.0,
        apply_errors=2,
        faults=1,
        workers=2,
        worker_restarts=1,
        tables={"identities": 3},
        table_limits={"identities": 65536},
        datapath="ebpf",
        datapath_counters={
            "short_circuit_bytes": 4096,
            "connections_splice": 5,
            "server_refused": 3,
            "not_ready": 2,
            "paired": 6,
        },
    )
    node = registry(tmp_path, lambda: facts)

    assert value(node, "l7proxy_policy_revision") == 7
    assert value(node, "l7proxy_policy_apply_errors_total") == 2
    assert value(node, "l7proxy_policy_faults") == 1
    assert value(node, "l7proxy_table_entries", table="identities") == 3
    assert value(node, "l7proxy_table_limit", table="identities") == 65536
    assert value(node, "l7proxy_short_circuited_bytes_total") == 4096
    assert value(node, "l7proxy_connections_total", road="splice") == 5
    assert value(node, "l7proxy_connections_total", road="refused") == 5
    assert value(node, "l7proxy_datapath_events_total", event="paired") == 6
    verdicts = {"direction": "ingress", "match": "l3-l4"}
    assert value(node, "hubble_policy_verdicts_total", action="forwarded", **verdicts) == 5
    assert value(node, "hubble_policy_verdicts_total", action="dropped", **verdicts) == 3
    unready = {"direction": "ingress", "match": "none", "action": "dropped"}
    assert value(node, "hubble_policy_verdicts_total", **unready) == 2
    assert value(node, "hubble_drop_total", reason="l4-refused", protocol="TCP") == 3
    assert value(node, "l7proxy_datapath_events_total", event="connections_splice") is None


def test_the_exposition_is_valid_text(tmp_path: Path, node: CollectorRegistry) -> None:
    recorder = Recorder("n", tally.slot_path(tmp_path, 0))
    recorder.record(record(policy='a"b\\c\nd'))
    recorder.close()

    families = {
        family.name for family in text_string_to_metric_families(generate_latest(node).decode())
    }
    assert {"hubble_http_requests", "l7proxy_policy_revision", "l7proxy_build_info"} <= families


def test_counts_are_saved_without_close(tmp_path: Path) -> None:
    path = tally.slot_path(tmp_path, 0)
    recorder = Recorder("n", path)
    recorder.record(record())

    # Bounded by the runner's patience only: nothing else would save them.
    while not tally.load(path).requests:
        time.sleep(0.01)
    recorder.close()


def test_settings_make_a_recorder_that_appends_to_a_file(tmp_path: Path) -> None:
    settings = RecorderSettings("n", tmp_path / "worker-0.json", str(tmp_path / "log"))
    for _ in range(2):
        recorder = open_recorder(settings)
        recorder.record(record())
        recorder.close()

    assert (tmp_path / "log").read_text().count("\n") == 2
    assert sum(tally.load(tmp_path / "worker-0.json").requests.values()) == 2
