"""Ratios as a picture that is understood at a glance: a dot for each on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from loadtest import svg
from loadtest.rounds import Claim
from loadtest.svg import EDGE, INK, LETTER, PALE

# The shapes differ as well.
WIN, LOSS = svg.BLUE, svg.RED
_ROW, _TOP, _BOTTOM = 24, 74, 34
_AXIS, _NOTE = 420, 230
_SIZE = 5.0
_MAX_TICKS = 9
_STEPS = (0.05, 0.1, 0.2, 0.25, 0.5, 1.0)
_LINEAR_UP_TO, _FINE_UP_TO = 4.0, 20.0
"""Of the highest value over the lowest: beyond, ticks are no longer evenly spaced, and fewer."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Ratios on a logarithmic axis: half as much is as far from 1 as twice as much."""

    low: float
    high: float
    left: float
    width: float

    def x(self, value: float) -> float:
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self.left + part * self.width, 1)


def is_win(claim: Claim) -> bool:
    """Better than that with which it is compared, or as good."""
    median = claim.series.median
    return median >= 1.0 if claim.more_is_better else median <= 1.0


def draw(title: str, claims: Sequence[Claim], better: str, worse: str) -> str:
    """SVG of ratios, the best first; ``better`` and ``worse`` name what is a win and a loss."""
    claims = sorted(claims, key=_goodness, reverse=True)
    labels = [each.label for each in claims]
    left = EDGE + max((len(text) for text in labels), default=0) * LETTER + 14
    width = left + _AXIS + _NOTE
    height = _TOP + _ROW * len(claims) + _BOTTOM
    image = svg.image(title, width, height)
    scale = Scale(*_range(claims), left, _AXIS)
    _legend(image, better, worse)
    _axis(image, scale, len(claims))
    for number, (text, claim) in enumerate(zip(labels, claims, strict=True)):
        _row(image, scale, text, claim, _TOP + _ROW * number + _ROW / 2)
    return svg.written(image)


def ticks(low: float, high: float) -> list[float]:
    """Round values between, so many as can be read."""
    if high / low > _LINEAR_UP_TO:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        digits = (1, 1.5, 2, 3, 5, 7) if high / low < _FINE_UP_TO else (1, 2, 5)
        found = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
        return [value for value in found if low <= value <= high]
    step = next((each for each in _STEPS if (high - low) / each <= _MAX_TICKS), _STEPS[-1])
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [round(number * step, 2) for number in numbers]


def _goodness(claim: Claim) -> float:
    return claim.series.median if claim.more_is_better else -claim.series.median


def _range(claims: Sequence[Claim]) -> tuple[float, float]:
    """All values and aims, and 1 with some room on both its sides."""
    values = [0.9, 1.1]
    for claim in claims:
        values += claim.series.spread
        if claim.aim:
            values.append(claim.aim.bound)
    return min(values) / 1.05, max(values) * 1.05


def _legend(image: Element, better: str, worse: str) -> None:
    x, y = float(EDGE), 48.0
    for kind, text in (
        ("win", better),
        ("loss", worse),
        ("aim", "aim"),
        ("spread", "lowest to highest round"),
    ):
        middle = x + 8
        if kind == "aim":
            _aim(image, middle, y + 8)
        elif kind == "spread":
            _whisker(image, x, x + 16, y, INK)
        else:
            _mark(image, middle, y, win=kind == "win")
        svg.text(image, x + 22, y + 4, text)
        x += 22 + len(text) * LETTER + 22


def _axis(image: Element, scale: Scale, rows: int) -> None:
    top, bottom = _TOP - 4, _TOP + _ROW * rows
    for value in ticks(scale.low, scale.high):
        x = scale.x(value)
        svg.line(image, (x, top), (x, bottom), PALE)
        svg.text(image, x, bottom + 16, f"{value:g}x", anchor="middle")
    # The line that decides: on its one side are wins, on the other losses.
    parity = scale.x(1.0)
    svg.line(image, (parity, top), (parity, bottom), INK, dash="4 3")


def _row(image: Element, scale: Scale, text: str, claim: Claim, y: float) -> None:
    low, high = claim.series.spread
    median, aim = claim.series.median, claim.aim
    note = f"{median:.2f}x" + (f", aim {aim}" if aim else "")
    if not claim.met:
        note += ", missed"
    tip = f"{claim.series.name}: {note}, from {low:.2f} to {high:.2f}"
    row = svg.group(image, "win" if is_win(claim) else "loss", tip)
    svg.text(row, scale.left - 12, y + 4, text, anchor="end")
    if aim:
        _aim(row, scale.x(aim.bound), y)
    colour = WIN if is_win(claim) else LOSS
    if low < high:
        _whisker(row, scale.x(low), scale.x(high), y, colour)
    _mark(row, scale.x(median), y, win=is_win(claim))
    weight = "normal" if claim.met else "bold"
    svg.text(row, scale.left + scale.width + 14, y + 4, note, weight=weight)


def _mark(parent: Element, x: float, y: float, *, win: bool) -> None:
    if win:
        svg.add(parent, "circle", cx=x, cy=y, r=_SIZE, fill=WIN)
        return
    r = _SIZE + 1
    points = f"{x},{y - r} {x + r},{y} {x},{y + r} {x - r},{y}"
    svg.add(parent, "polygon", points=points, fill=LOSS)


def _whisker(parent: Element, left: float, right: float, y: float, colour: str) -> None:
    svg.line(parent, (left, y), (right, y), colour, width=2)
    for x in (left, right):
        svg.line(parent, (x, y - 4), (x, y + 4), colour, width=2)


def _aim(parent: Element, x: float, y: float) -> None:
    """A triangle that stands on the value, above the line of dots and whiskers."""
    points = f"{x},{y - 5} {x - 4},{y - 12} {x + 4},{y - 12}"
    svg.add(parent, "polygon", points=points, fill=INK)
