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


def of(policies: PolicySet, workloads: Sequence[Workload] | None = None) -> list[FileError]:
    """The warnings for a policy set, in order of place.

    With ``workloads`` also for selectors that name none of them; None says that they are not
    known. A warning has the form of an error and refuses nothing.
    """
    found: set[FileError] = set()
    for policy in policies.policies:
        for spec in policy.specs:
            if workloads is not None:
                found |= set(_selecting_nobody(policy, spec, workloads))
            if spec.audit:
                found |= set(_auditing_nothing(policies, policy, spec))
            for direction in Direction:
                side = spec.side(direction)
                if side is not None:
                    found |= set(_of_side(policies, policy, spec, side, direction))
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
        covering = _covering_sides(enforced, spec, direction)
        denied_already = any(each.default_deny for each in covering)
        blocks = any(placed.rule.action is RuleAction.BLOCK for placed in _http_rules(side))
        if side.deny or blocks or (side.default_deny and not denied_already):
            return
    yield _warning(
        spec,
        f"audit: true of policy {policy.display_name} will record nothing: it could refuse "
        "nothing that is not refused already",
    )


def _of_side(
    policies: PolicySet, policy: Policy, spec: Spec, side: Side, direction: Direction
) -> Iterator[FileError]:
    for traffic in (*side.allow, *side.deny):
        yield from _of_traffic(policy, traffic)
    l4_rules = _l4_rules(policies, spec, direction)
    denials = [
        deny
        for other in _covering_sides(policies, spec, direction)
        for deny in other.deny
        if not deny.is_empty
    ]
    everything = list(_http_rules(side))
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
            yield from _shadowed(placed, everything[:at], everything)


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


def _shadowed(
    placed: _Placed, earlier: list[_Placed], everything: list[_Placed]
) -> Iterator[FileError]:
    rule = placed.rule
    is_block = rule.action is RuleAction.BLOCK
    for other in earlier if is_block else everything:
        if other.rule.action is RuleAction.BLOCK and _holds_for(other, placed):
            yield _warning(
                rule, f"{_name(rule)} never decides: {_name(other.rule)} blocks all it matches"
            )
            return
    if is_block or rule.has_effects:
        return
    for other in earlier:
        if other.rule.action is not RuleAction.BLOCK and _holds_for(other, placed):
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


def _covering_sides(policies: PolicySet, spec: Spec, direction: Direction) -> Iterator[Side]:
    """The sides of all specs that select every workload that ``spec`` selects, and bear on it:
    an audited one bears on audited ones only."""
    for policy in policies.policies:
        for other in policy.specs:
            side = other.side(direction)
            if (
                side is not None
                and (spec.audit or not other.audit)
                and cover.selector(other.subject, spec.subject)
            ):
                yield side


def _l4_rules(policies: PolicySet, spec: Spec, direction: Direction) -> list[TrafficRule]:
    return [
        rule
        for side in _covering_sides(policies, spec, direction)
        for rule in side.allow
        if rule.ports is None or any(ports.http is None for ports in rule.ports)
    ]


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
