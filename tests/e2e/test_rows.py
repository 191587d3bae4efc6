"""Every row of the demo, one test each: the client, explain and the access log agree."""

from __future__ import annotations

import pytest

from l7proxy.demo.play import play
from l7proxy.demo.scenario import ROWS, Row
from l7proxy.demo.stages import Stage

pytestmark = [pytest.mark.needs_ebpf, pytest.mark.needs_command("nginx")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.client}: {row.request}")
def test_row(stage: Stage, row: Row) -> None:
    [played] = play(stage, [row])
    assert played.problems == ()


def test_rows_without_a_rule_are_short_circuited(stage: Stage) -> None:
    def moved() -> float:
        host, port = "127.0.0.1", 9965
        text = stage.watcher.http("GET", host, port, "/metrics").body.decode()
        lines = [x for x in text.splitlines() if x.startswith("l7proxy_short_circuited_bytes_")]
        return sum(float(line.split()[-1]) for line in lines if "created" not in line)

    before = moved()
    [played] = play(stage, [row for row in ROWS if row.target == "/report"])
    assert played.problems == ()
    assert moved() - before >= len(played.outcome.body)
