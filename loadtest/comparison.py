"""A run held against an earlier one, by ratios alone: absolute numbers are the machine's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loadtest.result import number
from loadtest.rounds import Claim

NOISE = 0.10
"""A change of a median that is smaller is never taken for one, however steady the rounds were."""


class Verdict(StrEnum):
    """What became of a ratio."""

    SAME = "as then"
    GAIN = "gain"
    LOSS = "LOSS"
    NEW = "new"
    MISSING = "NOT MEASURED"

    @property
    def fails(self) -> bool:
        return self in (Verdict.LOSS, Verdict.MISSING)


@dataclass(frozen=True, slots=True)
class Change:
    """One ratio, then and now; one of the two may be missing."""

    label: str
    then: Claim | None
    now: Claim | None

    @property
    def verdict(self) -> Verdict:
        if self.then is None:
            return Verdict.NEW
        if self.now is None:
            return Verdict.MISSING
        if _is_worse(self.now, self.then):
            return Verdict.LOSS
        return Verdict.GAIN if _is_worse(self.then, self.now) else Verdict.SAME


def compare(then: Sequence[Claim], now: Sequence[Claim], *, whole: bool) -> list[Change]:
    """Every ratio of either, in the order of ``then``.

    What was measured then and is not now is a failure in a ``whole`` run: a case that is gone
    must not pass for one that is well. In other runs it was not asked for, and is left out.
    """
    before = {each.series.name: each for each in then if each.is_ratio}
    after = {each.series.name: each for each in now if each.is_ratio}
    names = dict.fromkeys((*before, *after) if whole else after)
    labels = {name: each.label for name, each in (before | after).items()}
    return [Change(labels[name], before.get(name), after.get(name)) for name in names]


def show(console: Console, changes: Sequence[Change]) -> None:
    """A table: case, then, now, verdict; medians with the lowest and the highest."""
    table = Table("ratio", box=SIMPLE_HEAD)
    for column in ("then", "now", "verdict"):
        table.add_column(column, justify="right")
    styles = {Verdict.GAIN: "green", Verdict.LOSS: "bold red", Verdict.MISSING: "bold red"}
    for change in changes:
        verdict = change.verdict
        style = styles.get(verdict, "")
        then, now = _cell(change.then), _cell(change.now)
        table.add_row(escape(change.label), then, now, verdict, style=style)
    console.print(table)


def _is_worse(one: Claim, other: Claim) -> bool:
    """Beyond noise: each median outside of the other's spread, and more than NOISE apart."""
    (one_low, one_high), (low, high) = one.series.spread, other.series.spread
    one_median, median = one.series.median, other.series.median
    if one.more_is_better:
        return one_median < min(low, median * (1 - NOISE)) and one_high < median
    return one_median > max(high, median / (1 - NOISE)) and one_low > median


def _cell(claim: Claim | None) -> str:
    if claim is None:
        return ""
    low, high = claim.series.spread
    return f"{number(claim.series.median)} ({number(low)} to {number(high)})"
