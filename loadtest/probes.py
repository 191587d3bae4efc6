"""Measurements that are repeated: a load with what is kept of each of its runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from loadtest import processes, uploads, wrk

WARM_SECONDS = 0.5


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
