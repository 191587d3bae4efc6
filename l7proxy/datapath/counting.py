"""What the programs count, by names: sums over all CPUs, since the kernel's state was made."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from l7proxy.datapath import libbpf
from l7proxy.datapath.layout import Layout, Table
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
    raw = libbpf.map_lookup(table.fd, key, width(table.value)) or b""
    return sum(int.from_bytes(raw[at : at + 8], sys.byteorder) for at in range(0, len(raw), 8))


def width(value: Layout) -> int:
    """The bytes that a look-up in a per-CPU map gives: an element for each CPU, in whole words."""
    return (value.size + 7 & ~7) * _possible_cpus()


@functools.cache
def _possible_cpus() -> int:
    """Per-CPU values have one element for each CPU that could ever be there."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.rpartition("-")[2].rpartition(",")[2]) + 1
