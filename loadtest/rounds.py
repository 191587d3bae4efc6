"""Rounds of measurements, interleaved, so that a slow minute of the machine hits all alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from loadtest.progress import Progress

Measure = Callable[[], float]
RATIO = "x"
"""The unit of a ratio."""
OF_MEDIANS = ", of medians"


@dataclass(frozen=True, slots=True)
class Series:
    """One thing measured once a round.

    ``scatter`` are more values, for the spread alone, where ``values`` is a single one.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    scatter: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest."""
        values = self.values + self.scatter
        return min(values), max(values)


@dataclass(frozen=True, slots=True)
class Aim:
    """A number that is promised: at least or at most ``bound``."""

    bound: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Claim:
    """A series that is held to an aim: a ratio of two others, or one of them itself.

    Without an aim it is a ratio of rates that is shown, and promises nothing.
    """

    series: Series
    aim: Aim | None = None

    @property
    def met(self) -> bool:
        return self.aim is None or self.aim.met(self.series.median)

    @property
    def is_ratio(self) -> bool:
        return self.series.unit == RATIO

    @property
    def is_against_direct(self) -> bool:
        return self._compared.rpartition(" / ")[2].endswith("direct")

    @property
    def label(self) -> str:
        """What is compared; with what only where that is no direct connection."""
        return self._compared.rpartition(" / ")[0] if self.is_against_direct else self._compared

    @property
    def _compared(self) -> str:
        return self.series.name.removesuffix(OF_MEDIANS)

    @property
    def more_is_better(self) -> bool:
        return self.aim is None or self.aim.at_least


def interleave(
    measures: Mapping[str, Measure],
    rounds: int,
    unit: str,
    progress: Progress,
) -> dict[str, Series]:
    """Measure each in turn, ``rounds`` times over; every second round runs backwards."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        names = list(measures)
        for name in names if number % 2 == 0 else reversed(names):
            progress(f"round {number + 1} of {rounds}: {name}")
            values[name].append(measures[name]())
            progress.measured()
    return {name: Series(name, unit, tuple(found)) for name, found in values.items()}


def ratio(above: Series, below: Series) -> Series:
    """``above / below`` round by round: what the machine did to both cancels out."""
    values = tuple(a / b for a, b in zip(above.values, below.values, strict=True))
    return Series(f"{above.name} / {below.name}", RATIO, values)


def ratio_of_medians(above: Series, below: Series) -> Series:
    """One value: for what is no rate, and too ragged to be compared round by round.

    How ragged it is, the ratios of the rounds tell.
    """
    value = above.median / below.median
    scatter = ratio(above, below).values
    return Series(f"{above.name} / {below.name}{OF_MEDIANS}", RATIO, (value,), scatter)


def flatten(found: Sequence[Mapping[str, Series]]) -> list[Series]:
    """All series of several sections, in order."""
    return [series for section in found for series in section.values()]
