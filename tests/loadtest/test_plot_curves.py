"""What can be read off the lines: rates where the axes say, and names that can be told apart."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from loadtest import plot_curves
from loadtest.found import Curves
from loadtest.rounds import Series

SVG = "{http://www.w3.org/2000/svg}"


def drawn(**lines: tuple[tuple[float, ...], ...]) -> ElementTree.Element:
    """A picture of lines of rounds at two levels."""
    series = {
        name: tuple(Series(name, "req/s", values) for values in levels)
        for name, levels in lines.items()
    }
    text = plot_curves.draw(Curves("a.svg", "Rates", "connections", (1, 4096), series))
    return ElementTree.fromstring(text)


def test_points_are_medians_and_the_line_through_each_is_its_spread() -> None:
    image = drawn(direct=((50.0, 100.0, 75.0), (0.5,)))
    (line,) = image.findall(f"{SVG}g")
    first, last = line.findall(f"{SVG}circle")
    (spread,) = line.findall(f"{SVG}line")
    zero, hundred = (
        next(float(each.attrib["y"]) - 4 for each in image.iter(f"{SVG}text") if each.text == words)
        for words in ("0", "100")
    )
    assert float(first.attrib["cy"]) == pytest.approx((zero + 3 * hundred) / 4, abs=0.2)
    assert float(last.attrib["cy"]) == pytest.approx(zero, abs=2)
    assert float(spread.attrib["y1"]) == pytest.approx((zero + hundred) / 2, abs=0.2)
    assert float(spread.attrib["y2"]) == pytest.approx(hundred, abs=0.2)


def test_every_line_and_level_is_named_once() -> None:
    image = drawn(direct=((1.0,), (2.0,)), kernel=((3.0,), (2.0,)))
    words = [each.text for each in image.iter(f"{SVG}text")]
    assert [words.count(each) for each in ("direct", "kernel", "1", "4,096")] == [1, 1, 2, 1]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ([10.0, 50.0], [10.0, 50.0]),
        ([10.0, 10.0], [5.0, 15.0]),
        ([12.0, 10.0], [16.0, 6.0]),
        ([10.0, 11.0, 12.0], [1.0, 11.0, 21.0]),
        # The third is pushed by what the first two have taken together.
        ([10.0, 10.0, 18.0], [2.67, 12.67, 22.67]),
        ([], []),
    ],
)
def test_names_keep_their_order_and_a_distance(wanted: list[float], found: list[float]) -> None:
    assert plot_curves.apart(wanted, 10.0) == pytest.approx(found, abs=0.01)


@pytest.mark.parametrize("highest", [0.7, 1.0, 9.0, 80.0, 81.0, 155_000.0])
def test_ticks_are_round_and_few(highest: float) -> None:
    step = plot_curves.tick_step(highest)
    assert 2 <= highest / step <= 8
    assert f"{step:e}"[0] in "125"
