"""One suite in one place: every test's outcome, also of those that hang or end the process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from l7proxy.demo import cgroups
from l7proxy.demo.places import Place, stop
from tests.transparency.suites import Suite, Wanted

SUITE_PATIENCE = 1200.0
"""Seconds that all tests of a suite get together."""

STARTS = 10
"""How often a suite is started: each test that hangs ends its process."""


class SuiteError(Exception):
    """The suite could not be run; the text is the end of what it said."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``word``: passed, failed, skipped or unfinished (it hung, or the process ended in it)."""

    word: str
    detail: str = ""


Outcomes = Mapping[str, Outcome]
"""By test id."""


def run(
    suite: Suite, place: Place, folder: Path, *, servers: Path | None = None, only: Wanted = None
) -> Outcomes:
    """Run a suite, or some tests of it; what it left running is killed. Raises SuiteError.

    ``servers`` is a cgroup for the servers of a suite that has them apart. Nothing else may run in
    it and in the place's. ``folder`` is made, and emptied before.
    """
    assert place.cgroup is not None
    used = [place.cgroup, servers] if servers else [place.cgroup]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    output = folder / "outcomes.jsonl"
    output.touch()
    found: dict[str, Outcome] = {}
    for _ in range(STARTS):
        code = _start(suite, place, folder, used, (only, frozenset(found)))
        before = len(found)
        found = _read(output)
        unfinished = any(outcome.word == "unfinished" for outcome in list(found.values())[before:])
        if not unfinished:
            # 5 is pytest's: what was left out left nothing to run.
            if not found or code not in (0, 1, 5):
                raise SuiteError(f"{suite.name}: exit code {code}: {_tail(folder)}")
            return found
    raise SuiteError(f"{suite.name}: more than {STARTS} tests did not end: {_tail(folder)}")


def _start(
    suite: Suite, place: Place, folder: Path, used: list[Path], tests: tuple[Wanted, Wanted]
) -> int:
    argv, directory, more = suite.command(folder, folder / "outcomes.jsonl", *tests)
    if used[1:]:
        more["TRANSPARENCY_SERVERS"] = str(used[1])
    # Nothing of this shell (proxies, PYTHON...) but what finds programs.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    with (folder / "output").open("ab") as stream:
        process = place.popen(
            argv, cwd=directory, stdout=stream, stderr=stream, env=environment | more
        )
        try:
            return process.wait(SUITE_PATIENCE)
        except subprocess.TimeoutExpired:
            raise SuiteError(f"{suite.name}: not over after {SUITE_PATIENCE:g} s") from None
        finally:
            stop(process)
            for cgroup in used:
                cgroups.kill(cgroup)


def _read(output: Path) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    for line in map(json.loads, output.read_text().splitlines()):
        word = "unfinished" if line["outcome"] == "start" else line["outcome"]
        found[line["test"]] = Outcome(word, line["detail"])
    return found


def _tail(folder: Path) -> str:
    return (folder / "output").read_text(errors="replace").strip()[-600:]
