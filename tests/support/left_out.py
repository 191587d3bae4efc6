"""A pytest plugin: tests that this machine cannot run are left out, loudly.

With ``L7PROXY_REQUIRE_BPF=1`` they fail instead, so that continuous integration cannot pass by
leaving them out.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections import Counter

import pytest

from l7proxy.demo import abilities

_SEARCH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_left_out: Counter[tuple[str, str]] = Counter()
_lacking_for_ebpf = functools.cache(abilities.lacking_for_ebpf)


def pytest_runtest_setup(item: pytest.Item) -> None:
    problem = _lacking(item)
    if problem is None:
        return
    if os.environ.get("L7PROXY_REQUIRE_BPF") == "1":
        pytest.fail(f"L7PROXY_REQUIRE_BPF=1, but {problem}", pytrace=False)
    pytest.skip(problem)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Where tests run in several processes, this is called in the one that sums up."""
    if report.skipped and isinstance(report.longrepr, tuple):
        problem = report.longrepr[2].removeprefix("Skipped: ")
        _left_out[report.nodeid.split("::")[0], problem] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _left_out:
        return
    total = sum(_left_out.values())
    terminalreporter.section(f"{total} TESTS LEFT OUT ON THIS MACHINE", sep="!", red=True)
    for (module, problem), count in sorted(_left_out.items()):
        terminalreporter.write_line(f"{module}: {count} left out: {problem}", red=True)
    terminalreporter.write_line("L7PROXY_REQUIRE_BPF=1 makes this a failure.")


def _lacking(item: pytest.Item) -> str | None:
    if item.get_closest_marker("needs_ebpf"):
        problem = _lacking_for_ebpf()
        if problem:
            return f"eBPF cannot be used: {problem}"
    for marker in item.iter_markers("needs_command"):
        for name in marker.args:
            if shutil.which(name, path=_SEARCH) is None:
                return f"the program {name} is missing"
    return None
