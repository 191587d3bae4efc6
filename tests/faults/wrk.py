"""A flood by wrk on the kernel road, half of it refused, and what the metrics must say of it."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.samples import Samples, total
from tests.faults.town import KERNEL_PORT, PATIENCE, Town
from tests.support.waiting import eventually

SCRIPT = Path(__file__).with_name("flood.lua")
CONNECTIONS = 24
METHOD = "OPTIONS"
"""No other client uses it, so that its metrics are those of the flood."""


@contextlib.contextmanager
def flood(town: Town, seconds: int) -> Iterator[None]:
    """Goes on during the block and behind it, until it has lasted so long.

    Raises AssertionError where wrk got another answer than it must, or the metrics have counted
    other requests than it has: those that were in flight at its end, at most, may be more.
    """
    before = {status: _counted(town, status) for status in ("200", "403")}
    argv = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(SCRIPT)]
    process = town.near.popen(
        [*argv, f"http://{town.host}:{KERNEL_PORT}/"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield
        output, _ = process.communicate(timeout=seconds + PATIENCE)
    finally:
        process.kill()
        process.wait()
    said = json.loads(output.splitlines()[-1])
    assert said["other"] == 0, f"wrk: {said}"
    assert said["200"] > 0, f"wrk: {said}"
    assert said["403"] > 0, f"wrk: {said}"
    for status, count in before.items():
        wanted = count + said[status]
        eventually(partial(_has_counted, town, status, wanted), PATIENCE)
        more = _counted(town, status) - wanted
        assert more <= CONNECTIONS + said["errors"], f"{status}: {more} more than wrk got, {said}"


def _has_counted(town: Town, status: str, wanted: float) -> bool:
    return _counted(town, status) >= wanted


def _counted(town: Town, status: str) -> float:
    samples: Samples = eventually(town.scrape, PATIENCE)
    labels = f'method="{METHOD}"', f'status="{status}"'
    return total("hubble_http_requests_total", *labels).value(samples)
