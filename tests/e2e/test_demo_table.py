"""The demo's table of requests, as terminals of several widths show it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from l7proxy.demo.agents import Explanation
from l7proxy.demo.client import Outcome
from l7proxy.demo.play import Played
from l7proxy.demo.scenario import ROWS, Row
from l7proxy.demo.table import Requests


def played(row: Row, *problems: str) -> Played:
    headers = (("X-Server", row.answered_by),) if row.answered_by else ()
    outcome = Outcome(row.status, b"Access denied\r\n", headers)
    explanation = Explanation(0, "FORWARDED", "allow", None, None, row.rule, row.reason, "proxy")
    return Played(row, outcome, explanation, None, "proxy", problems)


def lines(width: int, *shown: Played) -> list[str]:
    output = io.StringIO()
    table = Requests(Console(file=output, width=width), ROWS)
    table.begin()
    for each in shown:
        table.add(each)
    return output.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_every_request_is_one_line_that_fits(width: int) -> None:
    found = lines(width, *map(played, ROWS))
    assert max(map(len, found)) <= width
    assert sum(line.startswith("ok  ") for line in found) == len(ROWS)


def test_what_a_request_shows_is_told_where_there_is_room() -> None:
    [row] = [row for row in ROWS if row.target == "/users%2F7"]
    assert row.title not in "\n".join(lines(80, played(row)))
    assert lines(120, played(row))[-1].endswith(row.title)


def test_a_wrong_row_says_what_is_wrong_below_it() -> None:
    *_, line, problem = lines(80, played(ROWS[0], "explain [exits] with 2, expected 0"))
    assert line.startswith("NO  ")
    assert problem == "    explain [exits] with 2, expected 0"
