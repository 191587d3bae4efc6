"""Pod to pod with no rule in the way: short-circuited, against plain TCP over veth and bridge.

Two nodes alike stand side by side, one with an agent and one without, so that a round measures
both within seconds and nothing is attached and detached in between.
"""

from __future__ import annotations

from functools import partial

from loadtest import subjects
from loadtest.found import Found
from loadtest.progress import Progress
from loadtest.rounds import Aim, Claim, Measure, interleave, ratio
from loadtest.wrk import Load, rate

CASES = (
    ("small requests", "users", False, Aim(1.6)),
    ("64 KB bodies", "64k", False, None),
    ("1 MB bodies", "1m", False, Aim(1.2)),
    ("new connection per request", "users", True, Aim(0.88)),
)


def expected(rounds: int) -> int:
    """How many measurements are made."""
    return rounds * 2 * len(CASES)


def measure(rounds: int, seconds: float, progress: Progress) -> Found:
    """Requests per second of each case, direct and short-circuited."""
    with (
        subjects.pods("bench-direct", policy=False) as plain,
        subjects.pods("bench-splice", policy=False) as covered,
    ):
        covered.agent.start()
        measures: dict[str, Measure] = {}
        for title, target, close, _ in CASES:
            for name, pods in (("direct", plain), ("splice", covered)):
                url = f"http://{pods.server.ip}:{subjects.POD_PORT}/{target}"
                load = Load(pods.client, url, close=close)
                rate(load, min(seconds, 0.5))
                measures[f"{title}, {name}"] = partial(rate, load, seconds)
        found = interleave(measures, rounds, "req/s", progress)
    claims = [
        Claim(ratio(found[f"{title}, splice"], found[f"{title}, direct"]), aim)
        for title, _, _, aim in CASES
    ]
    return Found(list(found.values()), claims)
