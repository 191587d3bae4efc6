"""What every subject of the section of peers is asked to do, and what is promised of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from loadtest import kernel_rules
from loadtest.answers import Check
from loadtest.kernel_stage import PORT_OF_RULES
from loadtest.peer_stage import (
    DIRECT,
    EBPF,
    ENVOY,
    HAPROXY,
    KERNEL,
    LOOPBACK,
    MITMPROXY,
    NGINX,
    NORMALISING,
    PODS,
    SPLICE,
    TRANSPARENT,
    UNRULED,
    USERSPACE,
    Stage,
)
from loadtest.probes import Metered
from loadtest.rounds import Aim
from loadtest.routes import serving, unruled
from loadtest.wrk import Mix

IN_SWEEPS = (DIRECT, KERNEL, TRANSPARENT, USERSPACE, ENVOY, HAPROXY, NGINX)
"""Splice knows no rule, and mitmproxy is far below all others whatever grows."""

LEAST = {MITMPROXY: 2.0}
"""Seconds without which a slow subject may have answered nothing."""
CROWD, CROWD_SECONDS = 1000, 3.0
"""So many connections need so long until each is made and has had an answer."""

Pair = tuple[str, str]
AIMS: Mapping[str, Mapping[Pair, Aim]] = {
    LOOPBACK: {
        (KERNEL, ENVOY): Aim(10.0),
        (KERNEL, HAPROXY): Aim(2.5),
        (KERNEL, NGINX): Aim(2.5),
        (TRANSPARENT, ENVOY): Aim(0.5),
        (USERSPACE, ENVOY): Aim(0.5),
        (USERSPACE, MITMPROXY): Aim(5.0),
    },
    PODS: {},
}
"""What is promised of rates where the same small request is made of all."""
PAIRS: tuple[Pair, ...] = (
    (SPLICE, DIRECT),
    (KERNEL, DIRECT),
    (TRANSPARENT, DIRECT),
    (USERSPACE, DIRECT),
    (KERNEL, ENVOY),
    (KERNEL, HAPROXY),
    (KERNEL, NGINX),
    (TRANSPARENT, ENVOY),
    (USERSPACE, ENVOY),
    (USERSPACE, MITMPROXY),
)
"""Of which rates ratios are shown."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Small requests on loopback, by something that grows: ``levels`` of ``unit``.

    ``probe`` makes the load for a subject at a level. ``pairs`` are subjects whose rates are
    compared at each level. ``first`` has subjects of which each level is compared with the first
    one, with what is promised of it.
    """

    file: str
    title: str
    axis: str
    unit: str
    levels: tuple[int, ...]
    subjects: tuple[str, ...]
    probe: Callable[[Stage, str, int], Metered]
    pairs: tuple[Pair, ...] = ()
    first: Mapping[str, Aim | None] = field(default_factory=dict)

    def name(self, level: int) -> str:
        """Of a level, for people."""
        return f"{level:,} {self.unit.removesuffix('s') if level == 1 else self.unit}"

    def taking_part(self, *, ebpf: bool) -> tuple[str, ...]:
        """The subjects that are there."""
        return tuple(name for name in self.subjects if ebpf or name not in EBPF)


def _refused(stage: Stage, name: str, share: int) -> Metered:
    subject = stage.grounds[LOOPBACK][name]
    mix = Mix(share, *kernel_rules.REFUSED)
    load = subject.route.load(mix=mix, refused=0 if name in UNRULED else share)
    return Metered(load, subject.groups)


def _connections(stage: Stage, name: str, connections: int) -> Metered:
    subject = stage.grounds[LOOPBACK][name]
    load = subject.route.load(connections=connections)
    return Metered(load, subject.groups, CROWD_SECONDS if connections >= CROWD else 0.0)


def _rules(stage: Stage, name: str, count: int) -> Metered:
    subject = stage.rules[name][count]
    return Metered(subject.route.load(), subject.groups)


SWEEPS: Mapping[str, Sweep] = {
    "refused share": Sweep(
        file="refused.svg",
        title="Rate by the share of requests that the rule refuses (direct refuses none)",
        axis="% of the requests refused",
        unit="% refused",
        levels=(0, 10, 50, 100),
        subjects=IN_SWEEPS,
        probe=_refused,
        pairs=((KERNEL, DIRECT),),
    ),
    "connections": Sweep(
        file="connections.svg",
        title="Rate by connections",
        axis="connections",
        unit="connections",
        levels=(1, 8, 32, 256, 1024, 4096),
        subjects=IN_SWEEPS,
        probe=_connections,
        pairs=((KERNEL, DIRECT),),
    ),
    "rules": Sweep(
        file="rules.svg",
        title="Rate by rules in force, of which the one in the middle matches",
        axis="rules",
        unit="rules",
        levels=tuple(sorted(PORT_OF_RULES)),
        subjects=(KERNEL, TRANSPARENT),
        probe=_rules,
        first={KERNEL: Aim(0.92), TRANSPARENT: None},
    ),
}
"""By title, in the order in which they are measured."""


def checks(stage: Stage) -> list[Check]:
    """What each subject must answer: who has the rule refuses, and who has not serves."""
    made: list[Check] = []
    for ground in stage.grounds.values():
        for name, subject in ground.items():
            made += (unruled if name in UNRULED else serving)(subject.route)
        for name in NORMALISING:
            made.append(ground[name].route.check("GET", "/users/%2e%2e//admin", 403))
    for by_rules in stage.rules.values():
        for subject in by_rules.values():
            made += serving(subject.route)
    return made
