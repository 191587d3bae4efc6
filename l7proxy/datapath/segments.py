"""TCP segments that had to be sent again: what tells of a network that loses packets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from l7proxy.datapath import netns
from l7proxy.datapath.slots import Namespace


class Retransmissions:
    """Counted in the covered namespaces since this was made, those that have gone included."""

    def __init__(self) -> None:
        self._total = 0
        self._before: dict[int, int] = {}

    def total(self, namespaces: Iterable[Namespace]) -> int:
        """Up to now, as far as the namespaces could be read; what one sent before it was first
        seen is left out."""
        now: dict[int, int] = {}
        for each in namespaces:
            if each.cookie in self._before:
                now[each.cookie] = self._before[each.cookie]
            with contextlib.suppress(OSError), netns.entered(each.descriptor):
                now[each.cookie] = _retransmitted()
        for cookie, count in now.items():
            self._total += count - self._before.get(cookie, count)
        self._before = now
        return self._total


def _retransmitted() -> int:
    """Of the calling thread's namespace. The file has two lines: names, and numbers."""
    lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
    names, numbers = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(numbers[names.index("RetransSegs")])
