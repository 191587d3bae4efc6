"""Who may connect to whom, and which HTTP rules then hold: the L3/L4 half of the meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from l7proxy.policy import audit, peers, selectors
from l7proxy.policy.model import (
    Direction,
    HttpRule,
    Network,
    Policy,
    PolicySet,
    PortRule,
    Side,
    TrafficRule,
)
from l7proxy.policy.verdict import Admission, HttpLayer
from l7proxy.reasons import Reason
from l7proxy.workloads.model import Peer, Workload

_LAST_PORT = 65535


class Selecting(NamedTuple):
    """One policy's side that selects a workload for a direction; ``audited``: not enforced."""

    policy: Policy
    side: Side
    audited: bool = False


class _Outcome(NamedTuple):
    """What one direction says about a connection."""

    reason: Reason
    policy: str | None = None
    rule: str | None = None
    layer: HttpLayer | None = None


def admit(
    policies: PolicySet,
    workloads: Sequence[Workload],
    client: Peer,
    server: Peer,
    port: int,
) -> Admission:
    """Whether ``client`` may connect to ``port`` of ``server``, and what its requests must pass.

    The egress policies of the client and the ingress policies of the server must both allow;
    where both refuse, the client's are named. ``workloads`` belongs to the snapshot a decision
    is made from; rules of today need only the two peers.

    A workload may always reach itself: that traffic stays inside one trust domain, and Cilium's
    users rely on it for health checks over loopback.

    Audited policies decide nothing here; what they would refuse is in ``audit``.
    """
    del workloads
    if isinstance(client, Workload) and isinstance(server, Workload) and client.id == server.id:
        return Admission(True, Reason.SAME_WORKLOAD)
    egress = _selecting(policies, client, Direction.EGRESS)
    ingress = _selecting(policies, server, Direction.INGRESS)
    audited = [each.policy.display_name for each in (*egress, *ingress) if each.audited]
    enforced = _both(_enforced(egress), _enforced(ingress), client, server, port)
    if not audited:
        return enforced
    return audit.compared(
        enforced,
        _both(egress, ingress, client, server, port),
        audited,
        speaks_http=_speaks_http(egress, ingress, server, port),
    )


def _enforced(sides: list[Selecting]) -> list[Selecting]:
    return [each for each in sides if not each.audited]


def _both(
    egress_sides: list[Selecting],
    ingress_sides: list[Selecting],
    client: Peer,
    server: Peer,
    port: int,
) -> Admission:
    egress = _direction(Direction.EGRESS, egress_sides, server, port)
    ingress = _direction(Direction.INGRESS, ingress_sides, client, port)
    for outcome in (egress, ingress):
        if outcome.reason in (Reason.L4_DENY_RULE, Reason.L4_DEFAULT_DENY):
            return Admission(False, outcome.reason, outcome.policy, outcome.rule)
    layers = tuple(each.layer for each in (egress, ingress) if each.layer is not None)
    # The server's own policy says most about a connection that both sides allow.
    named = egress if ingress.reason is Reason.NO_POLICY else ingress
    reason = Reason.HTTP_RULES if layers else named.reason
    return Admission(True, reason, named.policy, named.rule, layers)


def selecting(policies: PolicySet, workload: Workload, direction: Direction) -> Iterator[Selecting]:
    """The sides of all policies that select ``workload`` for ``direction``, in deciding order."""
    for policy in policies.policies:
        for spec in policy.specs:
            side = spec.side(direction)
            if side is not None and selectors.matches(spec.subject, workload):
                yield Selecting(policy, side, spec.audit)


def selects(policies: PolicySet, workload: Workload, direction: Direction) -> bool:
    """Whether any policy concerns ``workload`` in ``direction``."""
    return any(True for _ in selecting(policies, workload, direction))


def port_boundaries(policies: PolicySet) -> list[int]:
    """The port numbers, sorted, at which the answer of ``admit`` can change.

    Between two neighbours, the lower included and the upper not, the port makes no difference;
    the same holds below the first and from the last to 65535.
    """
    edges: set[int] = set()
    for rule in _rules(policies):
        for ports in rule.ports or ():
            for each in ports.ports:
                if each.enforced:
                    edges |= {each.first, each.last + 1}
    return sorted(edge for edge in edges if 0 < edge <= _LAST_PORT)


def cidrs(policies: PolicySet) -> set[Network]:
    """Every address block that a policy names, exceptions included.

    Two addresses of the world that lie in the same of these get the same answer of ``admit``.
    """
    found: set[Network] = set()
    for rule in _rules(policies):
        for cidr in rule.peers.cidrs if rule.peers else ():
            found |= {cidr.network, *cidr.exceptions}
    return found


def _rules(policies: PolicySet) -> Iterator[TrafficRule]:
    for policy in policies.policies:
        for spec in policy.specs:
            for side in (spec.ingress, spec.egress):
                if side is not None:
                    yield from side.allow
                    yield from side.deny


def _selecting(policies: PolicySet, subject: Peer, direction: Direction) -> list[Selecting]:
    # Policies select workloads; the host and the world have none of their own.
    return list(selecting(policies, subject, direction)) if isinstance(subject, Workload) else []


def _speaks_http(
    egress: list[Selecting], ingress: list[Selecting], server: Peer, port: int
) -> bool:
    """Whether an HTTP rule names the server and the port, whoever its clients are."""
    named = [
        ports
        for each in ingress
        for rule in each.side.allow
        for ports in rule.ports or ()
        if any(port in one for one in ports.ports)
    ]
    for each in egress:
        for rule in each.side.allow:
            named += _matching(rule, server, port) or ()
    return any(ports.http is not None for ports in named)


def _direction(direction: Direction, sides: list[Selecting], peer: Peer, port: int) -> _Outcome:
    if not sides:
        return _Outcome(Reason.NO_POLICY)
    for policy, side, _ in sides:
        for rule in side.deny:
            if _matching(rule, peer, port) is not None:
                return _Outcome(Reason.L4_DENY_RULE, policy.display_name, rule.label)
    return _allowed(direction, sides, peer, port)


def _allowed(direction: Direction, sides: list[Selecting], peer: Peer, port: int) -> _Outcome:
    first: tuple[str, str] | None = None
    l4_allow: tuple[str, str] | None = None
    rules: list[HttpRule] = []
    force_proxy = False
    for policy, side, _ in sides:
        for rule in side.allow:
            matching = _matching(rule, peer, port)
            if matching is None:
                continue
            name = (policy.display_name, rule.label)
            first = first or name
            if rule.ports is None:
                l4_allow = l4_allow or name
            for ports in matching:
                if ports.http is None:
                    l4_allow = l4_allow or name
                else:
                    rules.extend(ports.http)
                    force_proxy = force_proxy or ports.force_proxy
    deniers = [each.policy for each in sides if each.side.default_deny]
    if first is None:
        if deniers:
            return _Outcome(Reason.L4_DEFAULT_DENY, deniers[0].display_name)
        return _Outcome(Reason.DEFAULT_ALLOWED)
    moot, default_allow = l4_allow is not None, not deniers
    layer = None
    # Where nothing can be refused and nothing be done, nobody needs to look at requests.
    if rules and not ((moot or default_allow) and all(rule.is_plain_allow for rule in rules)):
        layer = HttpLayer(direction, tuple(rules), moot, default_allow, force_proxy)
    if moot or layer is not None:
        return _Outcome(Reason.L4_ALLOWED, *(l4_allow or first), layer)
    return _Outcome(Reason.DEFAULT_ALLOWED)


def _matching(rule: TrafficRule, peer: Peer, port: int) -> tuple[PortRule, ...] | None:
    """The rule's port elements that hold for the connection; None where the rule does not match.

    A rule without a port condition matches with no element.
    """
    if rule.is_empty or (rule.peers is not None and not peers.matches(rule.peers, peer)):
        return None
    if rule.ports is None:
        return ()
    found = tuple(each for each in rule.ports if any(port in ports for ports in each.ports))
    return found or None
