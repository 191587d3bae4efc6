"""What a process and its descendants use of the machine, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME = 11
"""Of the fields of /proc/PID/stat after the name; stime, cutime and cstime follow."""


def memory(pid: int) -> int:
    """Bytes of memory (proportional set size) of a process and its descendants."""
    total = 0
    for each in tree(pid):
        rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        total += next(int(x.split()[1]) for x in rollup.splitlines() if x.startswith("Pss:"))
    return total * 1024


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time of a process and its descendants so far, user's and system's.

    Descendants that have ended count too, once they were waited for.
    """
    ticks = 0
    for each in tree(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name may hold anything, also spaces and brackets.
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[_UTIME : _UTIME + 4]))
    return ticks / _TICKS


def tree(pid: int) -> Iterator[int]:
    """The process and its descendants, as far as they are still there."""
    yield pid
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from tree(int(child))
