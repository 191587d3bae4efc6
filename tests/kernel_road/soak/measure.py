"""What the machine, the kernel road and its agent use, and whether that grows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from l7proxy.datapath import libbpf
from tests.kernel_road.town import LIMITS, Town

MAPS = ("exchanges", "clients", "servers")
_FEWEST = 6
"""Samples without which nothing is said of a trend."""
_PAGE = os.sysconf("SC_PAGE_SIZE") // 1024
_OF_FILES = ("dentry", "radix_tree_node", "buffer_head", "extent_status")


@dataclass(frozen=True)
class Bound:
    """The growth over the last two thirds that is let pass: ``floor``, or a share of the first
    sample where that is more. Other processes of the machine disturb what is not the road's own.
    """

    unit: str
    floor: float
    share: float = 0.1

    def limit(self, first: float) -> float:
        return max(self.floor, self.share * first)


BOUNDS = {
    "Slab without files": Bound("kB", 32 << 10),
    "SUnreclaim": Bound("kB", 16 << 10),
    **{name: Bound("entries", 20, 0.25) for name in MAPS},
    "sockets in use": Bound("", 40, 0.25),
    "sockets in TIME-WAIT": Bound("", 400, 0.25),
    "sockets orphaned": Bound("", 20),
    "sockets' memory": Bound("kB", 8 << 10, 0.25),
    "agent's RSS": Bound("kB", 8 << 10),
}


class Gauges:
    """Reads it all. ``pids``: a process in each of the namespaces that have sockets."""

    def __init__(self, town: Town, pids: Iterable[int]) -> None:
        self.begin = time.monotonic()
        self.times: list[float] = []
        self.samples: list[dict[str, float]] = []
        self._agent = town.node.agent
        self._pids = list(pids)
        self._maps: dict[str, tuple[int, int]] = {}
        self._stack = ExitStack()
        for name in MAPS:
            (pin,) = town.node.bpffs.glob(f"l7proxy/*/{name}")
            descriptor = libbpf.obj_get(pin)
            self._stack.callback(os.close, descriptor)
            self._maps[name] = (descriptor, _fields(f"self/fdinfo/{descriptor}")["key_size"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def sample(self) -> dict[str, float]:
        """Takes another one, and keeps it."""
        memory = _fields("meminfo")
        found: dict[str, float] = {
            "Slab without files": memory["Slab"] - _slab_of_files(),
            "SUnreclaim": memory["SUnreclaim"],
        }
        found |= self.entries()
        sockets = [_sockets(pid) for pid in self._pids]
        found["sockets in use"] = sum(each["inuse"] for each in sockets)
        found["sockets in TIME-WAIT"] = sum(each["tw"] for each in sockets)
        # These two are the whole machine's in every namespace.
        found["sockets orphaned"] = sockets[0]["orphan"]
        found["sockets' memory"] = sockets[0]["mem"] * _PAGE
        found["agent's RSS"] = sum(_fields(f"{pid}/status")["VmRSS"] for pid in self._agents())
        self.times.append(time.monotonic() - self.begin)
        self.samples.append(found)
        return found

    def entries(self) -> dict[str, int]:
        """How many each map has."""
        # A walk starts anew where an entry goes away under it, so it is counted what is different.
        most = 4 * int(LIMITS["tracked_connections"])
        return {
            name: len(set(islice(libbpf.map_keys(descriptor, size), most)))
            for name, (descriptor, size) in self._maps.items()
        }

    def growth(self, name: str) -> float | None:
        """By the straight line through the last two thirds of the samples; None: too few."""
        start = len(self.samples) // 3
        times, values = self.times[start:], [each[name] for each in self.samples[start:]]
        count = len(values)
        if count < _FEWEST:
            return None
        middle, mean = sum(times) / count, sum(values) / count
        spread = sum((at - middle) ** 2 for at in times)
        slope = (
            sum((at - middle) * (value - mean) for at, value in zip(times, values, strict=True))
            / spread
        )
        return slope * (times[-1] - times[0])

    def report(self) -> tuple[list[str], list[str]]:
        """The lines of a table, and what grows too much."""
        lines = [f"{'':22}{'first':>10}{'last':>10}{'highest':>10}{'growth':>10}{'bound':>10}"]
        problems = []
        for name, bound in BOUNDS.items():
            values = [each[name] for each in self.samples]
            if not values:
                continue
            growth, limit = self.growth(name), bound.limit(values[0])
            shown = "?" if growth is None else f"{growth:.0f}"
            numbers = (values[0], values[-1], max(values))
            lines.append(
                f"{name:22}{''.join(f'{each:10.0f}' for each in numbers)}"
                f"{shown:>10}{limit:10.0f} {bound.unit}".rstrip()
            )
            if growth is not None and growth > limit:
                problems.append(f"{name} grows: by {shown} {bound.unit}".rstrip())
        return lines, problems

    def _agents(self) -> list[int]:
        assert self._agent.cgroup is not None
        return [int(pid) for pid in (self._agent.cgroup / "cgroup.procs").read_text().split()]


def _fields(path: str) -> dict[str, int]:
    """The numbers of a file below /proc, by name."""
    found = {}
    for line in (Path("/proc") / path).read_text().splitlines():
        name, _, value = line.partition(":")
        if value.split() and value.split()[0].isdigit():
            found[name] = int(value.split()[0])
    return found


def _slab_of_files() -> float:
    """What the kernel keeps, in kB, of files that anybody on the machine has read or written.

    A socket has an inode too, of a cache of its own, which is not among these.
    """
    total = 0.0
    for line in Path("/proc/slabinfo").read_text().splitlines()[2:]:
        name, _, objects, size, *_ = line.split()
        of_a_file = name.endswith("_inode_cache") and name != "sock_inode_cache"
        if of_a_file or name in _OF_FILES:
            total += int(objects) * int(size) / 1024
    return total


def _sockets(pid: int) -> dict[str, int]:
    """TCP's line of the sockets of a process's namespace."""
    for line in Path(f"/proc/{pid}/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            words = line.split()[1:]
            return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=True)}
    raise ValueError("no TCP in sockstat")
