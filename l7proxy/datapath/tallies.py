"""What the kernel counts of requests, as a ``Tally``: exact, whatever is recorded one by one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from l7proxy.compiler.head_actions import METHODS
from l7proxy.datapath import counting
from l7proxy.datapath.layout import Table
from l7proxy.datapath.names import INGRESS, REASON_NUMBERS
from l7proxy.datapath.rule_names import RuleNames
from l7proxy.datapath.store import Store
from l7proxy.observe.flows import DROPPED, FORWARDED
from l7proxy.observe.tally import ELSEWHERE, OTHER, RequestKey, Tally
from l7proxy.policy.verdict import Road
from l7proxy.reasons import Reason

REASONS = tuple(REASON_NUMBERS)
METHOD_NAMES = (OTHER, *(flag.name for flag in METHODS))


def method_and_version(what: int) -> tuple[str, str]:
    """Of what a request is counted by: WHAT_OF in bpf/tally.h."""
    return METHOD_NAMES[what & 15], "HTTP/1.0" if what >> 4 else "HTTP/1.1"


def read(store: Store, names: RuleNames) -> Tally:
    """Everything since the kernel's state was made."""
    tally = Tally()
    for key, count in _sums(store.table("requests")):
        reason = REASONS[key["reason"]]
        method, version = method_and_version(key["what"])
        why = names.attribution(key["rules_id"], key["rule"], reason)
        refused = reason is not Reason.RULE_ALLOWED
        labels = RequestKey(
            method,
            version,
            (reason.status or 0) if refused else ELSEWHERE,
            INGRESS,
            DROPPED if refused else FORWARDED,
            why.reason.value,
            Road.KERNEL.value,
            why.policy or "",
            why.rule or "",
        )
        tally.requests[labels] = tally.requests.get(labels, 0) + count
    for what, counts in _columns(store.table("outcomes")):
        for status, count in enumerate(counts):
            if count:
                tally.outcomes[*method_and_version(what), status, INGRESS] = count
    for number, (*buckets, microseconds) in _columns(store.table("latencies")):
        if any(buckets):
            latency = [*map(float, buckets), microseconds / 1e6]
            tally.latency[METHOD_NAMES[number], INGRESS] = latency
    return tally


def decisions(store: Store) -> dict[str, int]:
    """Requests that the kernel has decided, by its reason; what there was none of is left out."""
    found: dict[str, int] = {}
    for key, count in _sums(store.table("requests")):
        reason = REASONS[key["reason"]].value
        found[reason] = found.get(reason, 0) + count
    return found


def _sums(table: Table) -> Iterator[tuple[Any, int]]:
    """Keys, unpacked, and the sums over all CPUs."""
    for packed in list(table.keys()):
        yield table.key.unpacked(packed), sum(words[0] for words in counting.per_cpu(table, packed))


def _columns(table: Table) -> Iterator[tuple[int, list[int]]]:
    """Of an array, numbers and the sums over all CPUs of each word of the value."""
    for packed in list(table.keys()):
        sums = [sum(column) for column in zip(*counting.per_cpu(table, packed), strict=True)]
        yield int.from_bytes(packed, sys.byteorder), sums
