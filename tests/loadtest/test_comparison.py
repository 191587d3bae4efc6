"""A run held against an earlier one: which changes are losses, and which are noise."""

from __future__ import annotations

import pytest

from loadtest.comparison import Verdict, compare
from loadtest.rounds import RATIO, Aim, Claim, Series

AT_LEAST, AT_MOST = Aim(1.0), Aim(1.0, at_least=False)


def claim(*values: float, name: str = "a / b", aim: Aim | None = AT_LEAST) -> Claim:
    return Claim(Series(name, RATIO, values), aim)


def verdict(then: Claim, now: Claim) -> Verdict:
    (change,) = compare([then], [now], whole=True)
    return change.verdict


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ((1.50, 1.55, 1.45), Verdict.SAME),
        ((1.20, 1.25, 1.15), Verdict.LOSS),
        # The median is inside of what was seen then.
        ((1.41, 1.42, 1.38), Verdict.SAME),
        # Beyond the spread of then, but by less than a tenth.
        ((1.36, 1.37, 1.35), Verdict.SAME),
        # So ragged a run that a round of it was as good as then.
        ((1.20, 1.51, 1.10), Verdict.SAME),
        ((1.80, 1.85, 1.75), Verdict.GAIN),
        ((1.80, 1.85, 1.45), Verdict.SAME),
    ],
)
def test_a_loss_is_beyond_the_spread_of_both_and_a_tenth(
    now: tuple[float, ...], expected: Verdict
) -> None:
    assert verdict(claim(1.50, 1.60, 1.40), claim(*now)) is expected


def test_of_latencies_less_is_better() -> None:
    then = claim(1.0, 1.1, 0.9, aim=AT_MOST)
    assert verdict(then, claim(1.3, 1.4, 1.2, aim=AT_MOST)) is Verdict.LOSS
    assert verdict(then, claim(1.3, 1.4, 0.9, aim=AT_MOST)) is Verdict.SAME
    assert verdict(then, claim(0.7, 0.8, 0.6, aim=AT_MOST)) is Verdict.GAIN


def test_the_spread_of_a_ratio_of_medians_counts() -> None:
    steady = Claim(Series("a / b", RATIO, (1.0,)), AT_MOST)
    ragged = Claim(Series("a / b", RATIO, (1.0,), (0.5, 1.6)), AT_MOST)
    now = Claim(Series("a / b", RATIO, (1.3,)), AT_MOST)
    assert verdict(steady, now) is Verdict.LOSS
    assert verdict(ragged, now) is Verdict.SAME


def test_a_loss_that_was_there_before_is_no_failure() -> None:
    then, now = claim(0.50, 0.52, 0.48), claim(0.49, 0.51, 0.47)
    assert not now.met
    assert not verdict(then, now).fails
    assert not verdict(claim(0.21, aim=None), claim(0.21, aim=None)).fails
    assert verdict(claim(0.21, aim=None), claim(0.15, aim=None)).fails


def test_absolute_numbers_are_never_compared() -> None:
    then = Claim(Series("ready", "s", (1.0,)), AT_MOST)
    now = Claim(Series("ready", "s", (9.0,)), AT_MOST)
    assert compare([then], [now], whole=True) == []


def test_a_case_that_is_gone_fails_a_whole_run_and_no_other() -> None:
    then = [claim(1.0), claim(1.0, name="gone / b")]
    now = [claim(1.0), claim(1.0, name="more / b")]
    whole = compare(then, now, whole=True)
    assert [(each.label, each.verdict) for each in whole] == [
        ("a / b", Verdict.SAME),
        ("gone / b", Verdict.MISSING),
        ("more / b", Verdict.NEW),
    ]
    assert [each.verdict.fails for each in whole] == [False, True, False]
    part = compare(then, now, whole=False)
    assert [each.verdict for each in part] == [Verdict.SAME, Verdict.NEW]
