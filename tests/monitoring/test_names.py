"""Every metric, label and value that rules and dashboard name is one that a scrape has.

A node in userspace mode shows all but what only the kernel has, which is taken from the names that
the kernel's counters and tables have in the code.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from l7proxy.datapath.names import Counter
from l7proxy.datapath.source import table_limits
from l7proxy.limits import Limits
from l7proxy.observe.metrics import NodeFacts, registry
from l7proxy.reasons import Reason
from tests.monitoring.conftest import Watched
from tests.monitoring.files import (
    EXPRESSIONS,
    KERNEL_TABLES,
    ONLY_IN_THE_KERNEL,
    RECORDED,
    levels,
)
from tests.monitoring.promql import Matcher, Selector, named_in
from tests.monitoring.scrapes import Scrape

OF_THE_TARGET = {"job": {"l7proxy"}, "instance": {"127.0.0.1:9965"}}

Known = dict[str, dict[str, set[str]]]
"""The values of each label of each metric."""


@pytest.fixture(scope="module")
def known(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Known:
    watched.client.mixed(1)
    found: Known = defaultdict(lambda: defaultdict(set))
    found["up"] = {}
    take(found, watched.settled())
    assert not found.keys() & ONLY_IN_THE_KERNEL
    take(found, of_the_kernel(tmp_path_factory.mktemp("none")))
    assert found.keys() >= ONLY_IN_THE_KERNEL
    for labels in found.values():
        if "reason" in labels:
            labels["reason"] |= {reason.value for reason in Reason}
    for name, expression in RECORDED.items():
        sources = [found.get(each.metric, {}) for each in named_in(expression).selectors]
        found[name] = {
            label: set().union(*(each.get(label, set()) for each in sources))
            for label in levels(name)
        }
    return {name: {**labels, **OF_THE_TARGET} for name, labels in found.items()}


def of_the_kernel(folder: Path) -> Scrape:
    """What a scrape has of a node that uses eBPF."""
    facts = NodeFacts(
        datapath="ebpf",
        datapath_counters={each.value: 1 for each in Counter},
        tables=dict.fromkeys(KERNEL_TABLES, 1),
        table_limits=table_limits(Limits()),
    )
    text = generate_latest(registry(folder, lambda: facts)).decode()
    return Scrape("", text, tuple(text_string_to_metric_families(text)))


def take(found: Known, scraped: Scrape) -> None:
    for name, labels in scraped.samples:
        values = found[name]
        for label, value in labels:
            values[label].add(value)


def test_what_is_named_exists(known: Known) -> None:
    assert [
        fault for where, expression in EXPRESSIONS for fault in faults(where, expression, known)
    ] == []


def faults(where: str, expression: str, known: Known) -> Iterator[str]:
    """What an expression names and a scrape does not have."""
    named = named_in(expression)
    labels: set[str] = set()
    for metric, matchers in named.selectors:
        has = known.get(metric)
        if has is None:
            yield f"{where}: no metric {metric}"
            continue
        labels |= has.keys()
        for matcher in matchers:
            if not can_match(matcher, has.get(matcher.label, set())):
                yield f"{where}: {metric} has no {matcher}"
    yield from (f"{where}: no label {label}" for label in named.groupings - labels)


def can_match(matcher: Matcher, values: set[str]) -> bool:
    """Whether what a matcher names is there: each of several alternatives."""
    if "~" in matcher.sign:
        return all(
            any(re.fullmatch(alternative, value) for value in values)
            for alternative in matcher.value.split("|")
        )
    return matcher.value in values or (matcher.value == "" and bool(values))


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(l7proxy_request_total[5m])", "no metric l7proxy_request_total"),
        ('l7proxy_requests_total{path="/"}', "has no Matcher(label='path'"),
        ('l7proxy_requests_total{verdict="DENIED"}', "has no Matcher(label='verdict'"),
        ('hubble_drop_total{reason=~"bad-host|bad-luck"}', "has no Matcher(label='reason'"),
        ('l7proxy_datapath_events_total{event="luck"}', "has no Matcher(label='event'"),
        ("sum by (instance, path) (l7proxy_requests_total)", "no label path"),
    ],
)
def test_what_does_not_exist_is_noticed(known: Known, expression: str, fault: str) -> None:
    [found] = faults("here", expression, known)
    assert fault in found


def test_expressions_are_taken_apart() -> None:
    named = named_in(
        'sum by (instance, le) (rate(a_bucket{b=~"c|d", e!=""}[5m] offset 1h)) > 0.5'
        " unless on (job) topk(2, f:g:h) / 1e3 or time() * i"
    )
    assert named.selectors == [
        Selector("a_bucket", (Matcher("b", "=~", "c|d"), Matcher("e", "!=", ""))),
        Selector("f:g:h", ()),
        Selector("i", ()),
    ]
    assert named.groupings == {"instance", "le", "job"}
    with pytest.raises(ValueError, match="not understood"):
        named_in("a ; b")
