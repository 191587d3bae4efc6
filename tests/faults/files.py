"""Files that are no good, or gone, and clocks that are wrong."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.fault import PROXY, Fault
from tests.faults.samples import EVERY, total
from tests.faults.town import PATIENCE, Town
from tests.support.waiting import eventually

GARBAGE = (
    b"\0\xff" * 500, b"a: [", b"kind: L7Policy\nspec: 7\n", b"- " * 5000, b"x" * (5 << 20),
    b"a: &a [*a, *a]\n", b"[" * 100_000,
)  # fmt: skip
REVISION = "l7proxy_policy_revision"
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
"""Debian's faketime; without it the clock is not tried."""
STEPS = ("+2d", "-3d", "+36500d", "+0")
"""Of the wall clock, one after another: days, and a century."""
STEP_SECONDS = 2.0


def garbage_in_policies(town: Town) -> None:
    """Files that are no policies, in every way; the last good set stays, and the metric says so."""
    errors = town.metric("l7proxy_policy_apply_errors_total")
    names = [town.policies / f"garbage-{number}.yaml" for number in range(len(GARBAGE))]
    for path, content in zip(names, GARBAGE, strict=True):
        path.write_bytes(content)
    (town.policies / "folder.yaml").mkdir()
    (town.policies / "nothing.yaml").symlink_to("/nonexistent")
    eventually(lambda: town.metric("l7proxy_policy_apply_errors_total") > errors, PATIENCE)
    for path in names:
        path.unlink()
    (town.policies / "folder.yaml").rmdir()
    (town.policies / "nothing.yaml").unlink()
    eventually(lambda: town.metric("l7proxy_policy_faults") == 0, PATIENCE)


def policies_swapped(town: Town) -> None:
    """Another set of rules with the same meaning, twenty times."""
    for number in range(20):
        town.write_policy(f"rules-{number}")
        revision = town.metric(REVISION)
        town.agent.reload()
        eventually(partial(_is_another, town, revision), PATIENCE)


def _is_another(town: Town, revision: float) -> bool:
    return town.metric(REVISION) != revision


def pins_removed(town: Town) -> None:
    """All that is pinned loses its name, until the agent has put it back."""
    pins = town.pins()
    before = _names(pins)
    shutil.rmtree(pins)
    eventually(lambda: _names(pins) >= before, PATIENCE)
    time.sleep(2 * EVERY)  # until the metric has been looked at


def pins_removed_agent_killed(town: Town) -> None:
    """The same, and SIGKILL as soon as they are back: the next agent finds everything."""
    pins_removed(town)
    town.agent.kill()
    town.agent.start()
    assert town.agent.admin("/status")["datapath"]["adopted"], "pins were not what they had been"


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def clock_set(town: Town) -> None:
    """The wall clock of agent and workers jumps forth and back."""
    for step in STEPS:
        (town.node.directory / "clock").write_text(f"{step}\n")
        time.sleep(STEP_SECONDS)


@contextlib.contextmanager
def another_clock(town: Town) -> Iterator[None]:
    """An agent whose wall clock ``clock_set`` sets; the machine's own is left alone."""
    offset = town.node.directory / "clock"
    offset.write_text("+0\n")
    environment = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with town.agent_with(environment):
        yield


FAULTS = {
    "garbage in the policies": Fault(
        garbage_in_policies, total("l7proxy_policy_apply_errors_total")
    ),
    "policies changed 20 times": Fault(policies_swapped, total(REVISION)),
    "pins removed": Fault(pins_removed, total("l7proxy_pins_restored_total")),
    "pins removed, agent killed": Fault(
        pins_removed_agent_killed, total("l7proxy_pins_restored_total"), PROXY
    ),
}
if FAKETIME is not None:
    FAULTS["clock set"] = Fault(clock_set, total("l7proxy_clock_steps_total"), around=another_clock)
