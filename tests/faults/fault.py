"""What a fault is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.samples import Metric
from tests.faults.town import Town

MIB = 1 << 20
HELD = 2.0
"""Seconds that something stays frozen or away: shorter than every time-out of the product."""

PROXY = frozenset({"proxy"})
KERNEL = frozenset({"near", "far", "distant"})
ALL = PROXY | KERNEL


@dataclass(frozen=True, slots=True)
class Fault:
    """``make`` returns when the fault is over; an AssertionError says what was not as it must be.

    ``metric``   tells of it, and of no other time
    ``roads``    those whose clients may lose requests
    ``away``     seconds that the fault itself keeps somebody from being served
    ``around``   what has to be otherwise in the town for as long as the fault is tried
    ``silent``   metrics that must not tell of it
    ``growth``   bytes by which agent and workers together may grow
    """

    make: Callable[[Town], None]
    metric: Metric
    roads: frozenset[str] = frozenset()
    away: float = 0.0
    around: Callable[[Town], contextlib.AbstractContextManager[None]] | None = None
    growth: int = 64 * MIB
    silent: tuple[Metric, ...] = ()
