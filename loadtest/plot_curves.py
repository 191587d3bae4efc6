"""Rates by something that grows: a line for each subject, named where it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from loadtest import svg
from loadtest.found import Curves
from loadtest.peer_stage import (
    DIRECT,
    ENVOY,
    HAPROXY,
    KERNEL,
    NGINX,
    TRANSPARENT,
    USERSPACE,
)
from loadtest.result import number
from loadtest.rounds import Series

COLOURS: Mapping[str, str] = {
    DIRECT: svg.BLACK,
    KERNEL: svg.BLUE,
    TRANSPARENT: svg.SKY,
    USERSPACE: svg.GREEN,
    ENVOY: svg.RED,
    HAPROXY: svg.PINK,
    NGINX: svg.ORANGE,
}
"""By subject, the same in every plot."""
_TOP, _BOTTOM, _LEFT, _RIGHT = 62, 50, 66, 150
_WIDTH, _HEIGHT = 560, 330
_LINE_HEIGHT = 15.0
_MAX_TICKS = 8


@dataclass(frozen=True, slots=True)
class _Axes:
    """Rates from zero upwards, evenly; levels side by side, however far they are apart."""

    highest: float
    levels: int

    def y(self, rate: float) -> float:
        return round(_TOP + _HEIGHT * (1 - rate / self.highest), 1)

    def x(self, level: int) -> float:
        inset = _WIDTH / self.levels / 4
        return round(_LEFT + inset + (_WIDTH - 2 * inset) * level / max(1, self.levels - 1), 1)


def draw(curves: Curves) -> str:
    """SVG of all lines; a thin line through each median is the lowest to the highest round."""
    image = svg.image(curves.title, _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BOTTOM)
    svg.text(
        image,
        svg.EDGE,
        46,
        "requests a second: more is better; medians, with the lowest and the highest round",
    )
    rates = [each.spread[1] for line in curves.lines.values() for each in line]
    step = tick_step(max(rates))
    axes = _Axes(math.ceil(max(rates) / step) * step, len(curves.levels))
    _grid(image, axes, step, curves)
    for name, line in curves.lines.items():
        _line(image, axes, name, line, curves)
    ends = {name: axes.y(line[-1].median) for name, line in curves.lines.items()}
    _names(image, axes.x(len(curves.levels) - 1), ends)
    return svg.written(image)


def tick_step(highest: float) -> float:
    """The distance of ticks from zero to ``highest``: round, and so that they can be read."""
    power = 10.0 ** math.floor(math.log10(highest / _MAX_TICKS))
    return next(power * digit for digit in (1, 2, 5, 10) if highest / power / digit <= _MAX_TICKS)


def apart(wanted: Sequence[float], distance: float) -> list[float]:
    """Positions as near to the ``wanted`` ones as may be, in their order, so far apart at least."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    # Neighbours that are too close are moved as one, around the middle of where they should be.
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and _start(wanted, blocks[-1], distance) < (
            _start(wanted, blocks[-2], distance) + len(blocks[-2]) * distance
        ):
            last = blocks.pop()
            blocks[-1] += last
    found = [0.0] * len(wanted)
    for block in blocks:
        start = _start(wanted, block, distance)
        for place, index in enumerate(block):
            found[index] = start + place * distance
    return found


def _start(wanted: Sequence[float], block: Sequence[int], distance: float) -> float:
    middle = sum(wanted[index] for index in block) / len(block)
    return middle - (len(block) - 1) * distance / 2


def _grid(image: Element, axes: _Axes, step: float, curves: Curves) -> None:
    for count in range(round(axes.highest / step) + 1):
        y = axes.y(count * step)
        svg.line(image, (_LEFT, y), (_LEFT + _WIDTH, y), svg.PALE)
        svg.text(image, _LEFT - 8, y + 4, f"{count * step:,.0f}", anchor="end")
    bottom = _TOP + _HEIGHT
    for place, level in enumerate(curves.levels):
        svg.text(image, axes.x(place), bottom + 18, f"{level:,}", anchor="middle")
    svg.text(image, _LEFT + _WIDTH / 2, bottom + 38, curves.axis, anchor="middle")


def _line(image: Element, axes: _Axes, name: str, line: Sequence[Series], curves: Curves) -> None:
    told = (
        f"{level:,}: {number(each.median)}" for level, each in zip(curves.levels, line, strict=True)
    )
    row = svg.group(image, "line", f"{name}, {curves.axis}: {'; '.join(told)}")
    colour = COLOURS[name]
    points = [(axes.x(place), axes.y(each.median)) for place, each in enumerate(line)]
    joined = " ".join(f"{x},{y}" for x, y in points)
    svg.add(row, "polyline", points=joined, fill="none", stroke=colour, stroke_width=2)
    for (x, y), each in zip(points, line, strict=True):
        low, high = each.spread
        if low < high:
            svg.line(row, (x, axes.y(low)), (x, axes.y(high)), colour)
        svg.add(row, "circle", cx=x, cy=y, r=3.5, fill=colour)


def _names(image: Element, x: float, ends: Mapping[str, float]) -> None:
    """Beside the ends of the lines; where these are close, further apart."""
    places = apart(list(ends.values()), _LINE_HEIGHT)
    for (name, y), place in zip(ends.items(), places, strict=True):
        left = _LEFT + _WIDTH + 12
        svg.line(image, (x + 6, y), (left - 3, round(place, 1)), COLOURS[name], dash="2 2")
        # Sky blue and orange are too pale for letters.
        svg.add(image, "circle", cx=left + 4, cy=round(place, 1), r=4, fill=COLOURS[name])
        svg.text(image, left + 12, place + 4, name)
