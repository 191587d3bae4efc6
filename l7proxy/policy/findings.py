"""Rules that are valid and can never decide anything, or not what their author seems to mean."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from l7proxy.file_errors import FileError
from l7proxy.policy import cover, patterns, selectors
from l7proxy.policy.model import (
    Direction,
    HttpRule,
    Policy,
    PolicySet,
    PortRule,
    RuleAction,
    Side,
    Spec,
    TrafficRule,
)
from l7proxy.policy.shadows import Wider
from l7proxy.workloads.model import Workload

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHODS = frozenset(b"CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE".split())
# Percent-encoded bytes that normalising decodes (RFC 3986 section 2.3) or redirects away.
_DECODED = re.compile(rb"%(2[DEF]|3[0-9]|4[1-9A-F]|5[0-9ACF]|6[1-9A-F]|7[0-9AE])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Placed:
    """An http rule with what stands around it."""

    traffic: TrafficRule
    ports: PortRule
    rule: HttpRule


@dataclass(frozen=True, slots=True)
class _Bearing:
    """The rules of a spec's side that decide connections, whatever the requests on them."""

    spec: Spec
    denials: tuple[TrafficRule, ...]
    l4_rules: tuple[TrafficRule, ...]


def of(policies: PolicySet, workloads: Sequence[Workload] | None = None) -> list[FileError]:
    """The warnings for a policy set, in order of place.

    With ``workloads`` also for selectors that name none of them; None says that they are not
    known. A warning has the form of an error and refuses nothing.
    """
    found: set[FileError] = set()
    bearing = {direction: _bearing(policies, direction) for direction in Direction}
    for policy in policies.policies:
        for spec in policy.specs:
            if workloads is not None:
                found |= set(_selecting_nobody(policy, spec, workloads))
            if spec.audit:
                found |= set(_auditing_nothing(policies, policy, spec))
            for direction in Direction:
                side = spec.side(direction)
                if side is not None:
                    found |= set(_of_side(bearing[direction], policy, spec, side))
    return sorted(found)


def _warning(where: Policy | Spec | TrafficRule | PortRule | HttpRule, text: str) -> FileError:
    return FileError(where.source.file, where.source.line, text)


def _selecting_nobody(
    policy: Policy, spec: Spec, workloads: Sequence[Workload]
) -> Iterator[FileError]:
    if not any(selectors.matches(spec.subject, each) for each in workloads):
        yield _warning(
            spec, f"policy {policy.display_name} selects no known workload ({spec.subject})"
        )
    for side in (spec.ingress, spec.egress):
        for placed in _http_rules(side) if side else ():
            backend = placed.rule.backend
            if backend is None or backend.selector is None:
                continue
            selector = backend.selector
            if not any(selectors.matches(selector, each) for each in workloads):
                yield _warning(
                    placed.rule,
                    f"{_name(placed.rule)} forwards to no known workload ({selector})",
                )


def _auditing_nothing(policies: PolicySet, policy: Policy, spec: Spec) -> Iterator[FileError]:
    enforced = PolicySet(
        tuple(
            dataclasses.replace(each, specs=tuple(one for one in each.specs if not one.audit))
            for each in policies.policies
        )
    )
    for direction in Direction:
        side = spec.side(direction)
        if side is None:
            continue
        denied_already = any(
            other.default_deny
            for each, other in _sides(enforced, direction)
            if _bears_on(each, spec)
        )
        blocks = any(placed.rule.action is RuleAction.BLOCK for placed in _http_rules(side))
        if side.deny or blocks or (side.default_deny and not denied_already):
            return
    yield _warning(
        spec,
        f"audit: true of policy {policy.display_name} will record nothing: it could refuse "
        "nothing that is not refused already",
    )


def _of_side(
    bearing: Sequence[_Bearing], policy: Policy, spec: Spec, side: Side
) -> Iterator[FileError]:
    for traffic in (*side.allow, *side.deny):
        yield from _of_traffic(policy, traffic)
    concerning = [each for each in bearing if _bears_on(each.spec, spec)]
    l4_rules = [rule for each in concerning for rule in each.l4_rules]
    denials = [rule for each in concerning for rule in each.denials]
    everything = list(_http_rules(side))
    wider = Wider([placed.rule for placed in everything])
    for at, placed in enumerate(everything):
        rule = placed.rule
        yield from _of_patterns(rule)
        within = placed.ports.ports
        if any(
            cover.peers(deny.peers, placed.traffic.peers) and _denies_ports(deny, placed.ports)
            for deny in denials
        ):
            yield _warning(rule, f"{_name(rule)} never decides: a deny rule comes before it")
        elif rule.is_plain_allow and any(
            cover.traffic(other, placed.traffic, within) for other in l4_rules
        ):
            yield _warning(
                rule,
                f"{_name(rule)} never decides: a rule without http allows the same peers and "
                "ports, so that everything is allowed",
            )
        else:
            yield from _shadowed(at, everything, wider)


def _of_traffic(policy: Policy, rule: TrafficRule) -> Iterator[FileError]:
    name = f"{rule.label} of policy {policy.display_name}"
    if rule.peers is not None and not (
        rule.peers.selectors or rule.peers.entities or rule.peers.cidrs
    ):
        yield _warning(rule, f"{name} never matches: its list of peers is empty")
    if rule.ports == ():
        yield _warning(rule, f"{name} never matches: toPorts is empty")
    for ports in rule.ports or ():
        others = [each for each in ports.ports if not each.enforced]
        if not others:
            continue
        kinds = " and ".join(sorted({each.protocol.value for each in others}))
        if ports.http is not None and len(others) == len(ports.ports):
            text = f"the http rules of {name} never decide: HTTP runs over TCP, not {kinds}"
        else:
            text = f"{name} says nothing about {kinds} here: only TCP is enforced"
        yield _warning(ports, text)


def _of_patterns(rule: HttpRule) -> Iterator[FileError]:
    name = _name(rule)
    for value in _literals(rule.method):
        if not _TOKEN.fullmatch(value):
            yield _warning(rule, f"{name} never matches: {_text(value)!r} is not a method")
        elif value not in _METHODS and value.upper() in _METHODS:
            yield _warning(
                rule,
                f"{name} does not match {value.upper().decode()}: methods are case-sensitive, "
                f"and this one is written {_text(value)!r}",
            )
    for value in _literals(rule.path):
        path = value.partition(b"?")[0]
        if not value.startswith(b"/") and value != b"*":
            yield _warning(
                rule, f"{name} never matches: a path starts with /, unlike {_text(value)!r}"
            )
        elif b"//" in path or b"#" in value or b"\\" in path or _DECODED.search(path):
            yield _warning(
                rule, f"{name} never matches: paths are normalised first, {_text(value)!r} is not"
            )
        elif rule.action is RuleAction.BLOCK and b"?" not in value:
            yield _warning(
                rule,
                f"{name} does not block {_text(value)}?x=1: the path is matched with its query; "
                f"write {_text(value)}(\\?.*)? to block both",
            )
    if any(value != value.lower() for value in _literals(rule.host)):
        yield _warning(rule, f"{name} never matches: hosts are compared in lower case")


def _shadowed(at: int, everything: list[_Placed], wider: Wider) -> Iterator[FileError]:
    placed = everything[at]
    rule = placed.rule
    is_block = rule.action is RuleAction.BLOCK
    places = wider.than(rule)
    for place in places:
        other = everything[place]
        if (
            other.rule.action is RuleAction.BLOCK
            and (place < at or not is_block)
            and _holds_for(other, placed)
        ):
            yield _warning(
                rule, f"{_name(rule)} never decides: {_name(other.rule)} blocks all it matches"
            )
            return
    if is_block or rule.has_effects:
        return
    for place in places:
        other = everything[place]
        if place < at and other.rule.action is not RuleAction.BLOCK and _holds_for(other, placed):
            yield _warning(
                rule, f"{_name(rule)} never decides: {_name(other.rule)} comes first for all of it"
            )
            return


def _holds_for(wide: _Placed, narrow: _Placed) -> bool:
    return (
        cover.http(wide.rule, narrow.rule)
        and cover.peers(wide.traffic.peers, narrow.traffic.peers)
        and cover.ports(wide.ports.ports, narrow.ports.ports)
    )


def _http_rules(side: Side) -> Iterator[_Placed]:
    for traffic in side.allow:
        for ports in traffic.ports or ():
            for rule in ports.http or ():
                yield _Placed(traffic, ports, rule)


def _sides(policies: PolicySet, direction: Direction) -> Iterator[tuple[Spec, Side]]:
    for policy in policies.policies:
        for spec in policy.specs:
            side = spec.side(direction)
            if side is not None:
                yield spec, side


def _bears_on(other: Spec, spec: Spec) -> bool:
    """Whether ``other`` selects every workload that ``spec`` selects, and has a say there: an
    audited one has it on audited ones only."""
    return (spec.audit or not other.audit) and cover.selector(other.subject, spec.subject)


def _bearing(policies: PolicySet, direction: Direction) -> list[_Bearing]:
    """What http rules of others may come too late for; most sets have little of it."""
    found = []
    for spec, side in _sides(policies, direction):
        denials = tuple(deny for deny in side.deny if not deny.is_empty)
        l4_rules = tuple(
            rule
            for rule in side.allow
            if rule.ports is None or any(ports.http is None for ports in rule.ports)
        )
        if denials or l4_rules:
            found.append(_Bearing(spec, denials, l4_rules))
    return found


def _denies_ports(deny: TrafficRule, ports: PortRule) -> bool:
    if deny.ports is None:
        return True
    return any(cover.ports(each.ports, ports.ports) for each in deny.ports)


def _literals(pattern: str | None) -> tuple[bytes, ...]:
    return () if pattern is None else patterns.literals(pattern) or ()


def _name(rule: HttpRule) -> str:
    return f"rule {rule.label} of policy {rule.policy}"


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
