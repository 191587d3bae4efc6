"""Runs unittest modules and writes a JSON line for each test: run_unittest.py PLAN OUTPUT.

PLAN is a JSON document: ``modules``, ``only`` (test ids, null for all), ``without`` (test ids) and
``patience`` (seconds that one test gets; then the process ends with every thread's traceback).
"""

from __future__ import annotations

import faulthandler
import json
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from test import support  # type: ignore[import-not-found]

RESOURCES = ("cpu", "network", "walltime")
"""Of CPython's test resources. Whatever wants other machines finds none here."""


class Recorder(unittest.TestResult):
    """``start`` lines before and outcome lines behind each test."""

    def __init__(self, output: TextIO, patience: float) -> None:
        super().__init__()
        self._output = output
        self._patience = patience
        self._said: list[tuple[str, str]] = []

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self._said = []
        self._write(test.id(), "start")
        faulthandler.dump_traceback_later(self._patience, exit=True)

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()
        outcome, detail = self._said[0] if self._said else ("passed", "")
        self._write(test.id(), outcome, detail)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self._failed(test, err)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self._failed(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self._failed(test, err)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        if isinstance(test, unittest.TestCase):
            self._said.append(("skipped", reason))
        else:
            self._write(test.id(), "skipped", reason)

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        self._said.append(("failed", "unexpected success"))

    def _failed(self, test: Any, err: Any) -> None:
        text = f"{err[0].__name__}: {err[1]}"
        if isinstance(test, unittest.TestCase):
            self._said.insert(0, ("failed", text))
        else:  # a class or module that could not be set up
            self._write(test.id(), "failed", text)

    def _write(self, test: str, outcome: str, detail: str = "") -> None:
        self._output.write(json.dumps({"test": test, "outcome": outcome, "detail": detail}) + "\n")
        self._output.flush()


def wanted(suite: unittest.TestSuite, plan: dict[str, Any]) -> unittest.TestSuite:
    """The suite without what the plan leaves out; folders of tests keep their order."""
    only, without = plan["only"], set(plan["without"])

    def kept() -> Iterator[unittest.TestCase | unittest.TestSuite]:
        for each in suite:
            if isinstance(each, unittest.TestSuite):
                yield wanted(each, plan)
            elif (only is None or each.id() in only) and each.id() not in without:
                yield each

    return unittest.TestSuite(kept())


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    support.use_resources = RESOURCES
    with Path(sys.argv[2]).open("a") as output:
        suite = unittest.defaultTestLoader.loadTestsFromNames(plan["modules"])
        wanted(suite, plan).run(Recorder(output, plan["patience"]))


if __name__ == "__main__":
    main()
