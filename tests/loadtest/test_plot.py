"""What can be read off the picture of ratios."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from loadtest import plot
from loadtest.rounds import RATIO, Aim, Claim, Series

SVG = "{http://www.w3.org/2000/svg}"


def claim(name: str, *values: float, aim: Aim | None = None) -> Claim:
    return Claim(Series(name, RATIO, values), aim)


def drawn(*claims: Claim) -> list[ElementTree.Element]:
    """The rows of the picture."""
    image = ElementTree.fromstring(plot.draw("ratios", claims, "faster", "slower"))
    return image.findall(f"{SVG}g")


def text_of(row: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in row.iter(f"{SVG}text")]


def whisker(row: ElementTree.Element) -> tuple[float, float]:
    lines = [each for each in row.iter(f"{SVG}line") if each.get("y1") == each.get("y2")]
    return float(lines[0].attrib["x1"]), float(lines[0].attrib["x2"])


def test_the_best_is_on_top_and_wins_differ_from_losses_in_colour_and_shape() -> None:
    rows = drawn(claim("slow / direct", 0.5), claim("fast / direct", 2.0))
    assert [text_of(row)[0] for row in rows] == ["fast", "slow"]
    assert [row.get("class") for row in rows] == ["win", "loss"]
    circle, diamond = rows[0].find(f"{SVG}circle"), rows[1].find(f"{SVG}polygon")
    assert circle is not None
    assert circle.get("fill") == plot.WIN
    assert diamond is not None
    assert diamond.get("fill") == plot.LOSS
    assert rows[1].find(f"{SVG}circle") is None


def test_of_latencies_less_is_a_win_and_on_top() -> None:
    aim = Aim(1.0, at_least=False)
    name = "pod, p99: {} / direct, of medians"
    rows = drawn(claim(name.format("b"), 1.2, aim=aim), claim(name.format("a"), 0.8, aim=aim))
    assert [row.get("class") for row in rows] == ["win", "loss"]
    assert text_of(rows[0]) == ["pod, p99: a", "0.80x, aim <= 1"]
    assert text_of(rows[1]) == ["pod, p99: b", "1.20x, aim <= 1, missed"]


def test_median_spread_and_aim_are_where_the_axis_says() -> None:
    values = (2.0, 1.0, 4.0)
    (row,) = drawn(claim("a / direct", *values, aim=Aim(1.5)))
    circle = row.find(f"{SVG}circle")
    assert circle is not None
    low, high = whisker(row)
    median = float(circle.attrib["cx"])
    # Twice as much is as far as half as much.
    assert median - low == pytest.approx(high - median, abs=0.2)
    aim = row.find(f"{SVG}polygon")
    assert aim is not None
    at = float(aim.attrib["points"].split(",")[0])
    assert (at - low) / (high - low) == pytest.approx(math.log(1.5) / math.log(4), abs=0.01)


def test_one_value_has_no_whisker_and_no_aim_no_mark() -> None:
    (row,) = drawn(claim("a / direct", 2.0))
    assert not row.findall(f"{SVG}line")
    assert not row.findall(f"{SVG}polygon")
    assert text_of(row) == ["a", "2.00x"]


def test_names_are_text_whatever_is_in_them() -> None:
    (row,) = drawn(claim('<b> & "c" / nginx', 2.0))
    assert text_of(row)[0] == '<b> & "c" / nginx'


@pytest.mark.parametrize("high", [1.2, 1.9, 3.0, 12.0, 90.0, 5000.0])
def test_ticks_are_on_the_axis_one_is_among_them_and_they_can_be_told_apart(high: float) -> None:
    low = 0.85
    found = plot.ticks(low, high)
    assert 1.0 in found
    assert 3 <= len(found) <= 14
    assert all(low <= value <= high for value in found)
    assert found == sorted(set(found))
