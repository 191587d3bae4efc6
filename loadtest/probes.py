"""Measurements that are repeated: a load with what is kept of each of its runs."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from loadtest import processes, uploads, wrk

WARM_SECONDS = 0.5
CLIENT, SERVER, PROXY, MACHINE = "client", "server", "proxy", "machine"
"""Whose processor time it is."""


class Probe(Protocol):
    """One subject of a case."""

    def warm(self, seconds: float) -> None:
        """Run for a moment; nothing is kept of it."""

    def measure(self, seconds: float) -> float:
        """Run for so long; the rate."""


@dataclass(slots=True)
class Requests:
    """Requests per second by wrk.

    ``p99``   microseconds, of each run
    ``agent`` where given, the process of which ``cpu`` has milliseconds of processor time, its
              descendants' included, for each 1,000 requests of a run
    """

    load: wrk.Load
    agent: int | None = None
    p99: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def warm(self, seconds: float) -> None:
        wrk.rate(self.load, min(seconds, WARM_SECONDS))

    def measure(self, seconds: float) -> float:
        before = processes.cpu_seconds(self.agent) if self.agent else 0.0
        found = wrk.run(self.load, seconds)
        if self.agent:
            # Seconds for a thousand thousand requests are milliseconds for a thousand.
            spent = processes.cpu_seconds(self.agent) - before
            self.cpu.append(spent / found.requests * 1e6)
        self.p99.append(float(found.p99))
        return found.rate


@dataclass(slots=True)
class Megabytes:
    """Megabytes per second of uploads."""

    load: uploads.Upload

    def warm(self, seconds: float) -> None:
        """Each run begins with an upload that is not counted."""

    def measure(self, seconds: float) -> float:
        return uploads.rate(self.load, seconds)


@dataclass(slots=True)
class Metered:
    """Requests per second by wrk, and all that they cost.

    ``least``   seconds that a run takes if less are asked for
    ``groups``  processes, each with its descendants, whose processor time is told apart
    ``results`` of each run
    ``cpu``     milliseconds for each 1,000 requests of a run, of wrk (CLIENT), of each group, and
                of everything on the machine (MACHINE)
    ``memory``  bytes of the PROXY group at the end of each run, its connections just closed
    """

    load: wrk.Load
    groups: Mapping[str, int]
    least: float = 0.0
    results: list[wrk.Result] = field(default_factory=list)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    memory: list[float] = field(default_factory=list)

    def warm(self, seconds: float) -> None:
        wrk.rate(self.load, max(min(seconds, WARM_SECONDS), self.least))

    def measure(self, seconds: float) -> float:
        before = self._clocks()
        found = wrk.run(self.load, max(seconds, self.least))
        after = self._clocks()
        self.results.append(found)
        for name, clock in before.items():
            spent = after[name] - clock
            self.cpu.setdefault(name, []).append(spent / found.requests * 1e6)
        if PROXY in self.groups:
            self.memory.append(float(processes.memory(self.groups[PROXY])))
        return found.rate

    def _clocks(self) -> dict[str, float]:
        clocks = {MACHINE: processes.busy_seconds(), CLIENT: processes.ended_seconds()}
        return clocks | {name: processes.cpu_seconds(pid) for name, pid in self.groups.items()}


@dataclass(slots=True)
class Silence:
    """Percent of all processors that are busy while nothing is sent."""

    def warm(self, seconds: float) -> None:
        """Nothing has to be made ready."""

    def measure(self, seconds: float) -> float:
        before, begin = processes.busy_seconds(), time.monotonic()
        time.sleep(seconds)
        spent = processes.busy_seconds() - before
        return 100 * spent / (time.monotonic() - begin) / (os.cpu_count() or 1)
