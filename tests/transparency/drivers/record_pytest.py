"""A pytest plugin that writes a JSON line for each test, told by the environment.

``TRANSPARENCY_PLAN`` names the plan, with the fields of run_unittest.py's; ``TRANSPARENCY_OUTPUT``
the file that is written; ``TRANSPARENCY_SERVERS`` the cgroup, if any, that processes of
``multiprocessing`` join before they do anything.
"""

from __future__ import annotations

import json
import os
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

PLAN = json.loads(Path(os.environ["TRANSPARENCY_PLAN"]).read_text())
OUTPUT = Path(os.environ["TRANSPARENCY_OUTPUT"]).open("a")  # noqa: SIM115
WORSE = {"passed": 0, "skipped": 1, "failed": 2}
SERVERS = os.environ.get("TRANSPARENCY_SERVERS")
_said: dict[str, tuple[str, str]] = {}


def pytest_configure() -> None:
    if SERVERS is None:
        return
    run = BaseProcess.run

    def join_and_run(process: BaseProcess) -> None:
        Path(SERVERS, "cgroup.procs").write_text("0")
        run(process)

    BaseProcess.run = join_and_run  # type: ignore[method-assign, assignment]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    only, without = PLAN["only"], set(PLAN["without"])
    items[:] = [
        item
        for item in items
        if (only is None or item.nodeid in only) and item.nodeid not in without
    ]


def pytest_runtest_logstart(nodeid: str) -> None:
    _write(nodeid, "start")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """The worst of set-up, call and tear-down."""
    before = _said.get(report.nodeid, ("passed", ""))
    if WORSE[report.outcome] >= WORSE[before[0]]:
        _said[report.nodeid] = report.outcome, _detail(report)


def pytest_runtest_logfinish(nodeid: str) -> None:
    _write(nodeid, *_said.pop(nodeid))


def _detail(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    crash: Any = getattr(report.longrepr, "reprcrash", None)
    return crash.message.splitlines()[0] if crash else ""


def _write(test: str, outcome: str, detail: str = "") -> None:
    OUTPUT.write(json.dumps({"test": test, "outcome": outcome, "detail": detail}) + "\n")
    OUTPUT.flush()
