"""What can be read off the bars of the peers."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from loadtest import plot_peers
from loadtest.found import Comparison, Row
from loadtest.rounds import Series

SVG = "{http://www.w3.org/2000/svg}"


def row(rate: float, busy: float, **cpu: float) -> Row:
    groups = {name: Series(name, "ms", (value,)) for name, value in cpu.items()}
    return Row(Series("r", "req/s", (rate,)), {}, Series("b", "ms", (busy,)), groups, None)


def bars(rows: dict[str, Row]) -> dict[str, dict[str, float]]:
    """The lengths of all bars by subject and colour."""
    image = ElementTree.fromstring(plot_peers.draw(Comparison("a.svg", "Peers", rows)))
    return {
        name: {rect.attrib["fill"]: float(rect.attrib["width"]) for rect in told.iter(f"{SVG}rect")}
        for name, told in zip(rows, image.findall(f"{SVG}g"), strict=True)
    }


def colour(part: str) -> str:
    return plot_peers.PARTS[part][0]


def test_bars_are_as_long_as_their_numbers_say() -> None:
    found = bars(
        {
            "direct": row(100.0, 10.0, client=4.0, server=5.0),
            "proxy": row(25.0, 20.0, client=4.0, server=5.0, proxy=8.0),
        }
    )
    assert found["direct"][plot_peers.RATE] == pytest.approx(4 * found["proxy"][plot_peers.RATE])
    of_proxy = found["proxy"]
    assert of_proxy[colour("proxy")] == pytest.approx(2 * of_proxy[colour("client")], abs=0.2)
    assert of_proxy[colour("rest")] == pytest.approx(3 / 8 * of_proxy[colour("proxy")], abs=0.2)
    assert colour("proxy") not in found["direct"]


def test_what_the_machine_spent_and_no_process_did_is_the_rest_and_never_below_zero() -> None:
    assert plot_peers.parts(row(1.0, 10.0, client=4.0, server=5.0))["rest"] == 1.0
    assert plot_peers.parts(row(1.0, 8.9, client=4.0, server=5.0))["rest"] == 0.0


@pytest.mark.parametrize(
    ("values", "end"), [([1.0, 2.0, 4.0], 4.0), ([1.0, 2.0, 100.0], 2.3), ([7.0], 7.0)]
)
def test_one_bar_that_stands_out_is_cut_so_that_the_others_can_be_seen(
    values: list[float], end: float
) -> None:
    assert plot_peers.longest(values) == pytest.approx(end)


def test_a_bar_that_is_cut_is_marked_and_has_its_number() -> None:
    rows = {"a": row(1.0, 1.0), "b": row(1.0, 1.2), "c": row(1.0, 900.0)}
    image = ElementTree.fromstring(plot_peers.draw(Comparison("a.svg", "Peers", rows)))
    marks = [len(told.findall(f"{SVG}polygon")) for told in image.findall(f"{SVG}g")]
    assert marks == [0, 0, 1]
    assert "900.00" in [each.text for each in image.iter(f"{SVG}text")]
