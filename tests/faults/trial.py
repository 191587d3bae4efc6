"""One fault, tried once under load, and all that must hold whatever the fault."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.faults.fault import MIB, Fault
from tests.faults.report import Row
from tests.faults.samples import Seen, watching
from tests.faults.town import Json, Town

RECOVERY = 5.0
"""Seconds after the fault until all is well."""
CALM = 1.5
"""Seconds of load before the fault."""


def trial(town: Town, row: Row) -> None:
    """Notes in ``row`` what was counted and what was wrong."""
    problems: list[str] = []
    cgroup = town.node.agent.cgroup
    assert cgroup is not None
    with town.load() as load:
        time.sleep(CALM)
        with watching(town.scrape, cgroup) as seen:
            load.mark()
            try:
                row.fault.make(town)
            except AssertionError as error:
                problems.append(str(error))
            time.sleep(RECOVERY + 1)
    unapproved = town.unapproved()
    row.add(load.said, seen, len(unapproved))
    problems += [f"served although refused: {target}" for target in unapproved]
    problems += judged(row.fault, load.said, seen)
    row.problems += [f"{row.name}: {each}" for each in problems]


def judged(fault: Fault, said: Json, seen: Seen) -> Iterator[str]:
    """What was not as it must be."""
    for road, counts in said.items():
        yield from (f"{road}: {each}" for each in counts["wrong"])
        lost = counts["lost"] + counts["excused"]
        if lost and road not in fault.roads:
            yield f"{road}: {lost} requests lost"
        if counts["longest"] > RECOVERY + fault.away:
            yield f"{road}: {counts['longest']:.1f} s without a good answer"
        if not counts["answered"]:
            yield f"{road}: nothing was answered"
    if seen.growth > fault.growth:
        yield f"memory grew by {seen.growth / MIB:.0f} MiB"
    if seen.rise(fault.metric) < fault.metric.least:
        yield f"{fault.metric.name} did not tell of it"
    for metric in fault.silent:
        if seen.rise(metric) >= metric.least:
            yield f"{metric.name} told of what was not there"
