"""What the programs count, by names: sums over all CPUs, since the kernel's state was made."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from l7proxy.datapath import libbpf
from l7proxy.datapath.layout import Table
from l7proxy.datapath.names import Counter
from l7proxy.datapath.store import Store


def counters(store: Store) -> dict[str, int]:
    """Every ``Counter``, by its value."""
    table = store.table("counters")
    return {each.value: _sum(table, number) for number, each in enumerate(Counter)}


def ways(store: Store) -> dict[str, int]:
    """Judged connections by the way that their first request took."""
    table = store.table("counters")
    numbers = {each: number for number, each in enumerate(Counter)}
    found = {"redirect": Counter.WAY_REDIRECT, "tcp": Counter.WAY_TCP}
    return {way: _sum(table, numbers[counter]) for way, counter in found.items()}


def _sum(table: Table, number: int) -> int:
    key = number.to_bytes(4, sys.byteorder)
    return sum(words[0] for words in per_cpu(table, key))


def per_cpu(table: Table, key: bytes) -> list[memoryview]:
    """The values that the CPUs have under a key, as 64-bit numbers each; none for no such key."""
    raw = libbpf.map_lookup(table.fd, key, table.value.size)  # of all CPUs together, BCC says
    if raw is None:
        return []
    words, cpus = memoryview(raw).cast("Q"), _possible_cpus()
    each = len(words) // cpus
    return [words[cpu * each : (cpu + 1) * each] for cpu in range(cpus)]


@functools.cache
def _possible_cpus() -> int:
    """Per-CPU values have one element for each CPU that could ever be there."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.rpartition("-")[2].rpartition(",")[2]) + 1
