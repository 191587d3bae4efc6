"""Why a pattern or a set of rules has no table, and how large a table may be."""

from __future__ import annotations

from dataclasses import dataclass


class Unsupported(Exception):
    """The pattern or rule has no table: ``reason`` says why. Its requests take the proxy road."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TooLarge(Exception):
    """Tables would pass a bound.

    states: how many there were when work on them stopped. table_bytes: what finished tables would
    take, where it is their whole that does not fit; 0 for a table that was not finished.
    """

    def __init__(self, states: int, table_bytes: int = 0) -> None:
        if table_bytes:
            text = f"{states:,} states, {table_bytes:,} bytes: more than the kernel's tables hold"
        else:
            text = f"{states:,} states or more: more than one of the kernel's tables holds"
        super().__init__(text)
        self.states = states
        self.table_bytes = table_bytes


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large one table may become, and how much work may go into it.

    states: of a finished table; 65,536 at most, because a transition has 16 bits. table_bytes: of
    its transitions. steps: states and steps of the patterns' automata that the construction looks
    at, counted each time; the bound on time.
    """

    states: int = 32_768
    table_bytes: int = 8 << 20
    steps: int = 1_000_000


DEFAULT_BOUNDS = Bounds()
