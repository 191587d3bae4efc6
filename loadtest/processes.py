"""What a process and its descendants use of the machine, from /proc."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME = 11
"""Of the fields of /proc/PID/stat after the name; stime, cutime and cstime follow."""
_IDLE, _WAITING, _STOLEN = 3, 4, 7
"""Of the fields of the first line of /proc/stat after its name."""


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


def ended_seconds() -> float:
    """Seconds of processor time of this process's children that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def busy_seconds() -> float:
    """Seconds that all processors were busy with anything, counted from an arbitrary start.

    Processes, the kernel's own threads, interrupts and eBPF programs are in it: all that was not
    idle, and not taken by the machine's own host. The kernel measures idle time, while it only
    samples what else there was.
    """
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    idle, waiting, stolen = (int(fields[at]) / _TICKS for at in (_IDLE, _WAITING, _STOLEN))
    return time.monotonic() * (os.cpu_count() or 1) - idle - waiting - stolen


def tree(pid: int) -> Iterator[int]:
    """The process and its descendants, as far as they are still there."""
    yield pid
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from tree(int(child))
