"""What a section of the benchmark has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from loadtest.rounds import Claim, Series


@dataclass(frozen=True, slots=True)
class Row:
    """One subject of a comparison.

    ``cpu`` is processor time for 1,000 requests by whose it is; ``busy`` is that of the whole
    machine. ``memory`` are bytes, where the subject has processes of its own.
    """

    rate: Series
    latencies: Mapping[str, Series]
    busy: Series
    cpu: Mapping[str, Series]
    memory: Series | None

    def series(self) -> list[Series]:
        """All of it."""
        found = [self.rate, *self.latencies.values(), self.busy, *self.cpu.values()]
        return [*found, self.memory] if self.memory else found


@dataclass(frozen=True, slots=True)
class Comparison:
    """Subjects that did the same, side by side; ``file`` is the name of its plots."""

    file: str
    title: str
    rows: Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class Curves:
    """Rates of subjects by something that grows; every line has a value for each of ``levels``."""

    file: str
    title: str
    axis: str
    levels: tuple[int, ...]
    lines: Mapping[str, tuple[Series, ...]]


@dataclass(slots=True)
class Found:
    """All of it. ``series`` has everything that is in the others as well, but for claims."""

    series: list[Series] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    curves: list[Curves] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Take over what another has."""
        self.series += other.series
        self.claims += other.claims
        self.comparisons += other.comparisons
        self.curves += other.curves
