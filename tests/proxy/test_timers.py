"""One sweep for all deadlines, on a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field

from l7proxy.limits import Limits
from l7proxy.proxy.timers import NEVER, Timers, sweep_interval


@dataclass(eq=False)
class Timed:
    deadline: float
    timers: Timers | None = None
    others: list[Timed] = field(default_factory=list)
    expirations: int = 0

    def expired(self) -> None:
        self.expirations += 1
        for other in self.others:
            assert self.timers is not None
            self.timers.unwatch(other)


def test_only_what_is_due_expires() -> None:
    now = [100.0]
    timers = Timers(Limits(), clock=lambda: now[0])
    due, later, never = Timed(100.5), Timed(102.0), Timed(NEVER)
    for each in (due, later, never):
        timers.watch(each)
    timers.sweep()
    now[0] = 101.0
    timers.sweep()
    assert [each.expirations for each in (due, later, never)] == [1, 0, 0]
    due.deadline = NEVER
    now[0] = 103.0
    timers.sweep()
    assert [each.expirations for each in (due, later, never)] == [1, 1, 0]


def test_one_expiry_may_take_others_off() -> None:
    timers = Timers(Limits(), clock=lambda: 100.0)
    first, second = Timed(1.0, timers), Timed(2.0, timers)
    first.others, second.others = [second], [first]
    timers.watch(first)
    timers.watch(second)
    timers.sweep()
    assert first.expirations + second.expirations == 1


def test_sweeps_are_coarse_but_fit_the_shortest_timeout() -> None:
    assert sweep_interval(Limits(connect_timeout=100, linger_timeout=100)) == 1.0
    assert sweep_interval(Limits(head_timeout=0.8)) == 0.1
    assert sweep_interval(Limits(head_timeout=0.001)) == 0.02
