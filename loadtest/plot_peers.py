"""Subjects that did the same, side by side: bars of their rates, and of what requests cost."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element

from loadtest import svg
from loadtest.found import Comparison, Row
from loadtest.probes import CLIENT, PROXY, SERVER
from loadtest.result import number

REST = "rest"
RATE = svg.BLUE
PARTS: Mapping[str, tuple[str, str]] = {
    CLIENT: (svg.PALE, "client (wrk)"),
    SERVER: (svg.GREY, "server (nginx)"),
    PROXY: (svg.RED, "proxy, or l7proxy's agent"),
    REST: (svg.YELLOW, "rest of the machine: kernel threads, others"),
}
"""Whose processor time it is: the colour, and the words."""
_ROW, _BAR, _TOP, _BOTTOM = 26, 16, 104, 16
_RATES, _COSTS, _NOTE = 230, 330, 84
_OUTLIER = 2.5
"""A bar that is so many times as long as the next one is cut."""


def draw(comparison: Comparison) -> str:
    """SVG with a row for each subject, in their order."""
    rows = comparison.rows
    left = svg.EDGE + max(len(name) for name in rows) * svg.LETTER + 12
    costs_left = left + _RATES + _NOTE
    width = costs_left + _COSTS + _NOTE
    image = svg.image(comparison.title, width, _TOP + _ROW * len(rows) + _BOTTOM)
    x = float(svg.EDGE)
    for colour, words in PARTS.values():
        svg.add(image, "rect", x=round(x, 1), y=40, width=12, height=12, fill=colour)
        svg.text(image, x + 17, 51, words)
        x += 17 + len(words) * svg.LETTER + 18
    svg.text(image, left, 84, "requests a second: longer is better", weight="bold")
    svg.text(
        image, costs_left, 84, "processor ms for 1,000 requests: shorter is better", weight="bold"
    )
    highest = max(row.rate.spread[1] for row in rows.values())
    cut = longest([row.busy.median for row in rows.values()])
    for place, (name, row) in enumerate(rows.items()):
        y = _TOP + _ROW * place
        told = svg.group(image, "subject", _told(name, row))
        svg.text(told, left - 8, y + 12, name, anchor="end")
        _rate(told, left, y, row, _RATES / highest)
        _cost(told, costs_left, y, row, cut)
    return svg.written(image)


def longest(values: list[float]) -> float:
    """Up to which an axis goes: to the highest value, or, if that stands out, to the one before."""
    *others, highest = sorted(values)
    if others and highest > _OUTLIER * others[-1]:
        return others[-1] * 1.15
    return highest


def parts(row: Row) -> dict[str, float]:
    """Milliseconds by whose they are; what is nobody's is what the machine's sum has in excess.

    Processes are measured exactly and the machine is sampled, so the excess may be below zero.
    """
    found = {group: series.median for group, series in row.cpu.items()}
    return found | {REST: max(0.0, row.busy.median - sum(found.values()))}


def _rate(told: Element, left: float, y: float, row: Row, scale: float) -> None:
    width = round(row.rate.median * scale, 1)
    svg.add(told, "rect", x=left, y=y, width=width, height=_BAR, fill=RATE)
    low, high = row.rate.spread
    if low < high:
        middle = y + _BAR / 2
        ends = [(round(left + rate * scale, 1), middle) for rate in (low, high)]
        svg.line(told, ends[0], ends[1], svg.INK, width=2)
    end = max(left + width, left + high * scale)
    svg.text(told, end + 6, y + 12, number(row.rate.median))


def _cost(told: Element, left: float, y: float, row: Row, cut: float) -> None:
    """Stacked; what is longer than ``cut`` is broken off, and its number is told."""
    x, scale = left, _COSTS / cut
    for group, spent in parts(row).items():
        width = round(min(spent * scale, left + _COSTS - x), 1)
        if width <= 0:
            continue
        colour = PARTS[group][0]
        svg.add(told, "rect", x=round(x, 1), y=y, width=width, height=_BAR, fill=colour)
        x += width
    if row.busy.median > cut:
        break_at = left + _COSTS - 24
        points = f"{break_at},{y + _BAR + 2} {break_at + 8},{y - 2}"
        points += f" {break_at + 14},{y - 2} {break_at + 6},{y + _BAR + 2}"
        svg.add(told, "polygon", points=points, fill=svg.WHITE)
    svg.text(told, x + 6, y + 12, number(row.busy.median))


def _told(name: str, row: Row) -> str:
    by_group = ", ".join(f"{group} {number(spent)}" for group, spent in parts(row).items())
    return (
        f"{name}: {number(row.rate.median)} requests a second,"
        f" {number(row.busy.median)} ms for 1,000 requests: {by_group}"
    )
