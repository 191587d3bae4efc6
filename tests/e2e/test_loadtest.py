"""The benchmark's own arithmetic, and that it takes no failing run for a result."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from l7proxy.demo import servers
from l7proxy.demo.places import Place
from loadtest import wrk
from loadtest.rounds import Aim, Claim, Series, interleave, ratio

HOST = "127.0.0.1"


def test_rounds_are_interleaved_and_every_second_one_runs_backwards() -> None:
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    measures = {name: partial(measure, name) for name in "abc"}
    found = interleave(measures, 2, "x", lambda text: None)
    assert "".join(order) == "abccba"
    assert found["a"].values == (1.0, 6.0)


def test_a_ratio_is_taken_round_by_round() -> None:
    fast, slow = Series("fast", "x", (2.0, 30.0, 4.0)), Series("slow", "x", (1.0, 10.0, 4.0))
    found = ratio(fast, slow)
    assert (found.median, found.spread) == (2.0, (1.0, 3.0))
    assert Claim(found, Aim(2.0)).met
    assert not Claim(found, Aim(2.1)).met
    assert Claim(found, Aim(2.0, at_least=False)).met


@pytest.mark.needs_command("nginx")
@pytest.mark.needs_command("wrk")
def test_wrk_measures_answers_and_refuses_a_run_with_errors(tmp_path: Path) -> None:
    body = "location /good { return 200 good; } location / { return 403; }"
    port = servers.free_port(HOST)
    with Place("bench") as place:
        servers.nginx(place, tmp_path, [(HOST, port)], body=body)
        for close in (False, True):
            assert wrk.rate(wrk.Load(place, f"http://{HOST}:{port}/good", close), 0.2) > 0
        with pytest.raises(wrk.WrkError, match="errors"):
            wrk.rate(wrk.Load(place, f"http://{HOST}:{port}/bad"), 0.2)
        with pytest.raises(wrk.WrkError):
            wrk.rate(wrk.Load(place, f"http://{HOST}:{servers.free_port(HOST)}/"), 0.2)
