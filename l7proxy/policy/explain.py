"""What would happen to a request, which rule decides, and which rule came nearest and why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from l7proxy.policy import admission, audit, patterns, peers, roads
from l7proxy.policy.decide import Decider, admit, header_holds
from l7proxy.policy.model import (
    Direction,
    HttpRule,
    PolicySet,
    RuleAction,
    Source,
    TrafficRule,
)
from l7proxy.policy.verdict import Action, Admission, RequestView, Road, Verdict
from l7proxy.reasons import Reason
from l7proxy.workloads.model import Peer, Workload

# The numbers that curl's users know from Cilium's own tests.
EXIT_SERVED = 0
EXIT_REFUSED_L7 = 22
EXIT_REFUSED_L4 = 28

_WEIGHT = {"path": 3, "method": 2, "host": 1, "client": 2, "server": 2, "port": 1}


@dataclass(frozen=True, slots=True)
class Miss:
    """One condition that did not hold: the field, what the rule wants, and what there was."""

    field: str
    wanted: str
    got: str

    def __str__(self) -> str:
        return f"{self.field} is {self.got}, the rule wants {self.wanted}"


@dataclass(frozen=True, slots=True)
class Nearest:
    """The rule with the fewest conditions that did not hold.

    Of several, one that only misses a header is nearer than one with another host, method or,
    farthest, path; of equals the first in order.
    """

    policy: str
    rule: str
    source: Source
    misses: tuple[Miss, ...]

    def __str__(self) -> str:
        why = "; ".join(map(str, self.misses))
        return f"{self.policy} {self.rule} ({self.source}): {why}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole answer to "what would happen".

    ``audited`` are the policies that decide this and are not enforced; ``together`` is the
    verdict as if they were, None without any. ``nearest`` belongs to the refusal, be it of
    ``verdict`` or else of ``together``.
    """

    admission: Admission
    verdict: Verdict
    road: roads.RoadChoice
    nearest: Nearest | None = None
    audited: tuple[str, ...] = ()
    together: Verdict | None = None

    @property
    def served(self) -> bool:
        """Whether the request would reach a backend."""
        return _is_served(self.verdict)

    @property
    def backend(self) -> str | None:
        """``address:port`` of a forward rule's backend."""
        return _backend(self.verdict)

    @property
    def recorded(self) -> bool:
        """Whether the request would be recorded with the verdict AUDIT."""
        return self.served and self.verdict.audit is not None and self.road.road is Road.PROXY

    @property
    def exit_code(self) -> int:
        if not self.admission.allowed:
            return EXIT_REFUSED_L4
        return EXIT_SERVED if self.served else EXIT_REFUSED_L7

    def as_json(self) -> dict[str, Any]:
        """The document that ``l7proxy explain -o json`` prints."""
        return {
            **_verdict_json(self.verdict),
            # What L3/L4 refuses gets no road; splice is the one where only L3/L4 decides.
            "road": (self.road.road if self.admission.allowed else Road.SPLICE).value,
            "audit": None if self.together is None else self._audit_json(self.together),
        }

    def _audit_json(self, together: Verdict) -> dict[str, Any]:
        """What would be if the audited policies were enforced."""
        return {
            "policies": list(self.audited),
            **_verdict_json(together),
            "recorded": self.recorded,
        }


def _is_served(verdict: Verdict) -> bool:
    return verdict.action is not Action.BLOCK and verdict.reason is not Reason.NO_BACKEND


def _backend(verdict: Verdict) -> str | None:
    if verdict.backend is None:
        return None
    address, port = verdict.backend
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _verdict_json(verdict: Verdict) -> dict[str, str | None]:
    return {
        "verdict": "FORWARDED" if _is_served(verdict) else "DROPPED",
        "action": verdict.action.value,
        "backend": _backend(verdict),
        "policy": verdict.policy,
        "rule": verdict.rule,
        "reason": verdict.reason.value,
    }


def explain(
    policies: PolicySet,
    workloads: Sequence[Workload],
    client: Peer,
    server: Peer,
    port: int,
    request: RequestView,
    *,
    server_is_local: bool = True,
    forced_proxy: bool = False,
    kernel_road: bool = False,
) -> Explanation:
    """What would happen to ``request`` from ``client`` to ``port`` of ``server``."""
    admitted = admit(policies, workloads, client, server, port)
    verdict = Decider(admitted, workloads).decide(request)
    road = roads.choose(
        admitted,
        server_is_local=server_is_local,
        forced_proxy=forced_proxy,
        kernel_road=kernel_road,
    )
    near = _nearest_to(policies, admitted, verdict, client, server, port, request)
    audited = audited_policies(policies, client, server)
    if not audited:
        return Explanation(admitted, verdict, road, near)
    policies = audit.all_enforced(policies)
    stricter = admit(policies, workloads, client, server, port)
    together = Decider(stricter, workloads).decide(request)
    if verdict.action is not Action.BLOCK:
        near = _nearest_to(policies, stricter, together, client, server, port, request)
    return Explanation(admitted, verdict, road, near, audited, together)


def audited_policies(policies: PolicySet, client: Peer, server: Peer) -> tuple[str, ...]:
    """The names of the audited policies that concern connections from ``client`` to ``server``."""
    ends = ((client, Direction.EGRESS), (server, Direction.INGRESS))
    found = (
        each.policy.display_name
        for end, direction in ends
        if isinstance(end, Workload) and client.id != server.id
        for each in admission.selecting(policies, end, direction)
        if each.audited
    )
    return tuple(dict.fromkeys(found))


def _nearest_to(
    policies: PolicySet,
    admitted: Admission,
    verdict: Verdict,
    client: Peer,
    server: Peer,
    port: int,
    request: RequestView,
) -> Nearest | None:
    if admitted.reason is Reason.L4_DEFAULT_DENY:
        return nearest_connection(policies, client, server, port)
    if verdict.reason is Reason.NO_RULE_MATCHED:
        return nearest(admitted, request)
    return None


def nearest(admitted: Admission, request: RequestView) -> Nearest | None:
    """The allow or forward rule that came nearest to matching; None where all match or none is.

    Only rules of layers that could refuse the request count.
    """
    best: Nearest | None = None
    for layer in admitted.layers:
        if layer.moot or layer.default_allow:
            continue
        found = [
            Nearest(rule.policy, rule.label, rule.source, misses)
            for rule in layer.rules
            if rule.action is not RuleAction.BLOCK and (misses := http_misses(rule, request))
        ]
        matching = sum(rule.action is not RuleAction.BLOCK for rule in layer.rules) > len(found)
        if not matching:
            best = _fewest(best, found)
    return best


def nearest_connection(
    policies: PolicySet, client: Peer, server: Peer, port: int
) -> Nearest | None:
    """The L3/L4 rule that came nearest to allowing a connection which nothing allows."""
    best: Nearest | None = None
    for direction, subject, peer in (
        (Direction.EGRESS, client, server),
        (Direction.INGRESS, server, client),
    ):
        if isinstance(subject, Workload):
            found = [
                Nearest(policy.display_name, rule.label, rule.source, misses)
                for policy, side, audited in admission.selecting(policies, subject, direction)
                if not audited
                for rule in side.allow
                for misses in [tuple(_connection_misses(rule, direction, peer, port))]
            ]
            if all(each.misses for each in found):
                best = _fewest(best, found)
    return best


def http_misses(rule: HttpRule, request: RequestView) -> tuple[Miss, ...]:
    """The conditions of an http rule that a request does not meet, field by field."""
    misses = []
    for field, pattern, value in (
        ("method", rule.method, request.method),
        ("path", rule.path, request.path),
        ("host", rule.host, request.host),
    ):
        if pattern is not None and not patterns.matcher(pattern)(value):
            misses.append(Miss(field, pattern, _shown(value)))
    for header in rule.headers:
        if header.mismatch is None and not header_holds(header, request):
            sent = request.header(header.name)
            wanted = "present" if header.value is None else _shown(header.value)
            got = "absent" if sent is None else _shown(sent)
            misses.append(Miss(f"header {header.name.decode()}", wanted, got))
    return tuple(misses)


def _connection_misses(
    rule: TrafficRule, direction: Direction, peer: Peer, port: int
) -> Iterator[Miss]:
    who = "server" if direction is Direction.EGRESS else "client"
    if rule.is_empty:
        yield Miss(who, "nobody", peer.id)
    if rule.peers is not None and not peers.matches(rule.peers, peer):
        yield Miss(who, str(rule.peers), _described(peer))
    if rule.ports is not None:
        ranges = [each for ports in rule.ports for each in ports.ports]
        if not any(port in each for each in ranges):
            wanted = ", ".join(f"{each}/{each.protocol.value}" for each in ranges) or "none"
            yield Miss("port", wanted, f"{port}/TCP")


def _described(peer: Peer) -> str:
    if isinstance(peer, Workload):
        labels = ", ".join(f"{key}={value}" for key, value in sorted(peer.labels.items()))
        return f"{peer.id} ({labels or 'no labels'})"
    return peer.id


def _fewest(best: Nearest | None, found: Sequence[Nearest]) -> Nearest | None:
    return min((each for each in (best, *found) if each is not None), key=_distance, default=None)


def _distance(near: Nearest) -> tuple[int, int]:
    return len(near.misses), sum(_WEIGHT.get(miss.field, 0) for miss in near.misses)


def _shown(value: bytes) -> str:
    """A request's own bytes, harmless on a terminal."""
    return value.decode("latin-1").encode("unicode_escape").decode()
