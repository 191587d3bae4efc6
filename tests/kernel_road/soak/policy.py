"""The rules that take turns, and which of them are in force: told to every process by a file.

Requests to ``/ok/`` are always allowed, to ``/no/`` never, to ``/turn/`` by every second set.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import Self

FAMILIES = ("ok", "no", "turn")
_MANY = ", ".join(f"{{path: /many-{number}}}" for number in range(300))
_METHODS = 'method: "GET|HEAD|POST|PUT"'
RULES = (
    f'[{{{_METHODS}, path: "/(ok|turn)/.*"}}]',
    f'[{{{_METHODS}, path: "/ok/.*"}}]',
    f'[{{{_METHODS}, path: "/ok/.*"}}, {{{_METHODS}, path: "/turn/.*"}}]',
    f'[{_MANY}, {{{_METHODS}, path: "/ok/.*"}}]',
)
"""The last does not fit into tables of the smallest size."""

_STALE = 3
"""Steps within which a second change has begun: the tables of before the first may be gone."""


class Period:
    """Counts changes of policy: odd while one is under way. Rules number N are in force at 2N."""

    def __init__(self, path: Path) -> None:
        """One process has made the file with ``create``; it alone calls ``advance``."""
        descriptor = os.open(path, os.O_RDWR)
        try:
            self._memory = mmap.mmap(descriptor, 8)
        finally:
            os.close(descriptor)

    @staticmethod
    def create(path: Path) -> Period:
        """A file that says the first rules are in force."""
        path.write_bytes(bytes(8))
        return Period(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._memory.close()

    def now(self) -> int:
        """The count, to be handed to ``verdicts`` when the answer is there."""
        return int.from_bytes(self._memory[:8], "little")

    def advance(self) -> int:
        """Begins a change, or ends it. Returns the new count."""
        value = self.now() + 1
        self._memory[:8] = value.to_bytes(8, "little")
        return value

    def verdicts(self, family: str, since: int) -> set[bool]:
        """What a request that began at ``since`` and has its answer now may have been told."""
        if family != "turn":
            return {family == "ok"}
        if since != self.now() or since % 2:
            return {True, False}
        return {since // 2 % 2 == 0}

    def is_stale(self, since: int) -> bool:
        """Whether what began at ``since`` may be ended because nobody has its rules any more."""
        return self.now() - since >= _STALE
