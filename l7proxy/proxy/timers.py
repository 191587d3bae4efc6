"""Deadlines for thousands of connections from one coarse timer.

A connection stores when it is due in a plain attribute, which costs nothing to move; one sweep
looks at all of them. A deadline is honoured at most one interval late.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import fields
from typing import Protocol

from l7proxy.limits import Limits

NEVER = float("inf")

_COARSEST = 1.0
_FINEST = 0.02
_SWEEPS_PER_TIMEOUT = 8


class Timed(Protocol):
    """Something with a deadline: a time of the timers' clock in seconds, NEVER for none."""

    deadline: float

    def expired(self) -> None:
        """The deadline has passed. Called again at each sweep until it is moved or unwatched."""


class Timers:
    """All deadlines of a worker."""

    __slots__ = ("_handle", "_interval", "_watched", "clock")

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._interval = sweep_interval(limits)
        self._watched: set[Timed] = set()
        self._handle: asyncio.TimerHandle | None = None

    def watch(self, timed: Timed) -> None:
        """Starts looking at ``timed.deadline``."""
        self._watched.add(timed)

    def unwatch(self, timed: Timed) -> None:
        """Stops looking; harmless when it was not watched."""
        self._watched.discard(timed)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sweeps on ``loop`` until ``stop``."""

        def tick() -> None:
            self._handle = loop.call_later(self._interval, tick)
            self.sweep()

        self._handle = loop.call_later(self._interval, tick)

    def stop(self) -> None:
        """No sweep happens after this."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def sweep(self) -> None:
        """Calls ``expired`` on everything that is due."""
        now = self.clock()
        for timed in [each for each in self._watched if each.deadline <= now]:
            # An earlier one may have closed or moved a later one.
            if timed in self._watched and timed.deadline <= now:
                timed.expired()


def sweep_interval(limits: Limits) -> float:
    """Seconds between sweeps: a fraction of the shortest timeout, within bounds."""
    shortest: float = min(
        getattr(limits, each.name) for each in fields(limits) if each.name.endswith("_timeout")
    )
    return min(max(shortest / _SWEEPS_PER_TIMEOUT, _FINEST), _COARSEST)
