"""What ``l7proxy check`` shows of a valid policy set: destinations with their roads, warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from l7proxy.file_errors import FileError
from l7proxy.policy import audit, cover, findings, roads, selectors
from l7proxy.policy.model import (
    Direction,
    HttpRule,
    Peers,
    PolicySet,
    PortRange,
    PortRule,
    Selector,
    Side,
    TrafficRule,
)
from l7proxy.policy.verdict import Admission, HttpLayer, Road
from l7proxy.reasons import Reason
from l7proxy.workloads.model import Workload

_EVERY_PORT = PortRange(0, 65535)

_Allowing = tuple[TrafficRule, PortRule | None]
Crowded = Callable[[str, Direction, PortRange], bool]
"""Tells of a workload's id whether rules for its connections on these ports, which fit into the
kernel's tables, have no room there beside all others."""


def _nobody_is_crowded_out(workload: str, direction: Direction, ports: PortRange) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Destination:
    """One row: the ports of a workload, the road to them and why, and how many rules hold.

    Of egress the row names the client's workload and whom its rules allow it to reach.
    """

    workload: str
    port: str
    road: str
    reason: str
    rules: int
    direction: str = "ingress"

    def as_json(self) -> dict[str, str | int]:
        """The row as ``l7proxy check -o json`` prints it: a single port is a number."""
        return {
            "workload": self.workload,
            "port": int(self.port) if self.port.isdecimal() else self.port,
            "road": self.road,
            "reason": self.reason,
            "rules": self.rules,
            "direction": self.direction,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The whole answer for a valid set."""

    rule_count: int
    destinations: tuple[Destination, ...]
    warnings: tuple[FileError, ...]


class _Sided(NamedTuple):
    """A side with the name of its policy, and whether that is audited."""

    policy: str
    side: Side
    audited: bool


@dataclass(frozen=True, slots=True)
class _Subject:
    """A workload with the sides that select it; where none is known, a selector in its place."""

    name: str
    is_local: bool
    short_circuit: bool
    sides: tuple[_Sided, ...]

    def of(self, *, audited_too: bool) -> tuple[Side, ...]:
        """The sides that are enforced, or all of them."""
        return tuple(each.side for each in self.sides if audited_too or not each.audited)

    @property
    def audits_default_deny(self) -> bool:
        """Whether default deny is what audited policies bring, and they alone."""
        return any(each.side.default_deny for each in self.sides if each.audited) and not any(
            each.side.default_deny for each in self.sides if not each.audited
        )


def check(
    policies: PolicySet,
    workloads: Sequence[Workload] | None = None,
    *,
    unfit: roads.Unfit | None = None,
    crowded: Crowded = _nobody_is_crowded_out,
) -> Report:
    """Destinations and warnings of a policy set.

    Without ``workloads`` (None) the rows are for the selectors of the policies, and nothing is
    said about selectors that select nobody. ``unfit``: see ``roads.choose``; None where there is
    no kernel road. ``crowded`` is asked where the kernel could decide.
    """
    rows = [
        row
        for direction in (Direction.INGRESS, Direction.EGRESS)
        for subject in _subjects(policies, workloads, direction)
        for row in _rows(subject, direction, unfit, crowded)
    ]
    return Report(policies.rule_count, tuple(rows), tuple(findings.of(policies, workloads)))


def _subjects(
    policies: PolicySet, workloads: Sequence[Workload] | None, direction: Direction
) -> Iterator[_Subject]:
    specs: list[tuple[Selector, _Sided]] = [
        (spec.subject, _Sided(policy.display_name, side, spec.audit))
        for policy in policies.policies
        for spec in policy.specs
        if (side := spec.side(direction)) is not None
    ]
    if workloads is None:
        by_selector: dict[Selector, list[_Sided]] = {}
        for subject, sided in specs:
            by_selector.setdefault(subject, []).append(sided)
        for subject, found in by_selector.items():
            yield _Subject(str(subject), True, True, tuple(found))
        return
    for workload in sorted(workloads, key=lambda each: each.id):
        sides = [each for subject, each in specs if selectors.matches(subject, workload)]
        if sides:
            is_local = workload.netns is not None or workload.cgroup is not None
            yield _Subject(workload.id, is_local, workload.short_circuit, tuple(sides))


def _rows(
    subject: _Subject, direction: Direction, unfit: roads.Unfit | None, crowded: Crowded
) -> Iterator[Destination]:
    sides = subject.of(audited_too=True)
    segments = _segments(sides)
    if subject.audits_default_deny and _EVERY_PORT not in segments:
        segments.append(_EVERY_PORT)
    for ports in segments:
        allowing = _allowing(sides, ports)
        if not (allowing or _denied(sides, ports) or subject.audits_default_deny):
            continue
        is_server = direction is Direction.INGRESS
        choice = roads.choose(
            _admission(subject, direction, ports),
            server_is_local=subject.is_local if is_server else _only_workloads(allowing),
            short_circuit=subject.short_circuit or not is_server,
            kernel_road=unfit is not None,
            unfit=unfit or roads.all_fit,
        )
        if choice.road is Road.KERNEL and crowded(subject.name, direction, ports):
            choice = roads.RoadChoice(Road.PROXY, roads.NO_ROOM)
        count = sum(len(element.http or (1,)) if element else 1 for _, element in allowing)
        name = subject.name
        if direction is Direction.EGRESS:
            name = f"{name} to {_peers_text(allowing)}"
        text = str(ports)
        if ports == _EVERY_PORT and len(segments) > 1:
            text = "other ports"
        yield Destination(name, text, choice.road.value, choice.reason, count, direction.value)


def _allowing(sides: tuple[Side, ...], ports: PortRange) -> list[_Allowing]:
    return [
        (rule, element)
        for side in sides
        for rule in side.allow
        for element in _elements(rule, ports)
    ]


def _denied(sides: tuple[Side, ...], ports: PortRange) -> bool:
    """Whether everyone is denied."""
    return any(
        _elements(rule, ports) and cover.peers(rule.peers, None)
        for side in sides
        for rule in side.deny
    )


def _segments(sides: tuple[Side, ...]) -> list[PortRange]:
    """The ports that rules name, cut where any rule begins or ends; every port where none does."""
    ranges = [
        each
        for side in sides
        for rule in (*side.allow, *side.deny)
        for element in rule.ports or ()
        for each in element.ports
        if each.enforced
    ]
    edges = sorted({each.first for each in ranges} | {each.last + 1 for each in ranges})
    found = [
        PortRange(low, high - 1)
        for low, high in pairwise(edges)
        if any(each.first <= low and high - 1 <= each.last for each in ranges)
    ]
    if (
        any(
            rule.ports is None and not rule.is_empty
            for side in sides
            for rule in (*side.allow, *side.deny)
        )
        and _EVERY_PORT not in found
    ):
        found.append(_EVERY_PORT)
    return found


def _elements(rule: TrafficRule, ports: PortRange) -> list[PortRule | None]:
    """The elements of a rule that hold on ``ports``; a single None where it names no ports."""
    if rule.is_empty:
        return []
    if rule.ports is None:
        return [None]
    return [element for element in rule.ports if cover.ports(element.ports, (ports,))]


def _admission(subject: _Subject, direction: Direction, ports: PortRange) -> Admission:
    """What the most demanding peer that is enforced to be allowed meets on these ports."""
    enforced = _of_sides(subject.of(audited_too=False), direction, ports)
    audited = tuple(each.policy for each in subject.sides if each.audited)
    if not audited:
        return enforced
    sides = subject.of(audited_too=True)
    together = _of_sides(sides, direction, ports)
    speaks_http = any(element and element.http for _, element in _allowing(sides, ports))
    if _turns_somebody_away(subject, ports):
        together = Admission(False, Reason.L4_DEFAULT_DENY)
    return audit.compared(enforced, together, audited, speaks_http=speaks_http)


def _turns_somebody_away(subject: _Subject, ports: PortRange) -> bool:
    """Whether audited policies would refuse somebody's connections that are let through."""
    return subject.audits_default_deny or any(
        _elements(rule, ports) for each in subject.sides if each.audited for rule in each.side.deny
    )


def _of_sides(sides: tuple[Side, ...], direction: Direction, ports: PortRange) -> Admission:
    """What the most demanding peer that the sides allow meets."""
    if not sides:
        return Admission(True, Reason.NO_POLICY)
    if _denied(sides, ports):
        return Admission(False, Reason.L4_DENY_RULE)
    allowing = _allowing(sides, ports)
    default_allow = not any(side.default_deny for side in sides)
    if not allowing and not default_allow:
        return Admission(False, Reason.L4_DEFAULT_DENY)
    l4_rules = [rule for rule, element in allowing if element is None or element.http is None]
    demanding: list[HttpRule] = []
    force = False
    for rule, element in allowing:
        if element is None or element.http is None:
            continue
        moot = any(cover.peers(other.peers, rule.peers) for other in l4_rules)
        if not moot or not all(each.is_plain_allow for each in element.http):
            demanding.extend(element.http)
            force = force or element.force_proxy
    if not demanding or (default_allow and all(rule.is_plain_allow for rule in demanding)):
        return Admission(True, Reason.L4_ALLOWED if allowing else Reason.DEFAULT_ALLOWED)
    layer = HttpLayer(direction, tuple(demanding), False, default_allow, force)
    return Admission(True, Reason.HTTP_RULES, layers=(layer,))


def _only_workloads(allowing: list[_Allowing]) -> bool:
    return all(
        rule.peers is not None and not rule.peers.entities and not rule.peers.cidrs
        for rule, _ in allowing
    )


def _peers_text(allowing: list[_Allowing]) -> str:
    found: dict[Peers | None, None] = dict.fromkeys(rule.peers for rule, _ in allowing)
    return " or ".join("anyone" if peers is None else str(peers) for peers in found) or "anyone"
