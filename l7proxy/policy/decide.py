"""The reference decision: what each policy set means for each connection and each request.

Pure functions of a snapshot: policies, workloads, and who talks to whom. ``admit`` decides a
connection, ``decide`` a request on it. Everything else that decides (tables, kernel programs)
is held to these answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from l7proxy.policy import patterns, selectors
from l7proxy.policy.admission import admit, cidrs, port_boundaries, selects
from l7proxy.policy.model import HeaderRule, HttpRule, Mismatch, RuleAction
from l7proxy.policy.verdict import Action, Admission, HeaderEdit, HttpLayer, RequestView, Verdict
from l7proxy.reasons import Reason
from l7proxy.workloads.model import Address, Workload

__all__ = ["Decider", "admit", "cidrs", "decide", "port_boundaries", "selects"]

_Backends = tuple[tuple[Address, int], ...]
_Candidates = tuple[tuple["_Rule", ...], tuple["_Rule", ...]]
_REMEMBERED = 1024
_REMEMBERED_BYTES = 512
"""Of how many requests, and of how large ones, a layer remembers which rules may match."""


def decide(
    admission: Admission, request: RequestView, workloads: Sequence[Workload], turn: int = 0
) -> Verdict:
    """The verdict on one request of an admitted connection; see ``Decider.decide``."""
    return Decider(admission, workloads).decide(request, turn)


class Decider:
    """An admission made ready to decide requests: prepare once, decide often.

    Holds compiled patterns, so it stays in the process that made it.
    """

    __slots__ = ("_layers", "_settled", "_together")

    def __init__(self, admission: Admission, workloads: Sequence[Workload]) -> None:
        audit = admission.audit
        self._together = None if audit is None else Decider(audit.together, workloads)
        self._layers = tuple(_Layer(layer, workloads) for layer in admission.layers)
        self._settled: Verdict | None = None
        if not admission.allowed:
            self._settled = Verdict(
                Action.BLOCK, admission.reason, admission.policy, admission.rule
            )
        elif not self._layers:
            self._settled = Verdict(
                Action.ALLOW, admission.reason, admission.policy, admission.rule
            )

    def decide(self, request: RequestView, turn: int = 0) -> Verdict:
        """Block beats everything; else the first rule in order decides, and every layer must allow.

        Where both directions forward, the egress rule, which the request meets first, says where
        to. ``turn`` picks among several backends of a forward rule (modulo their number), in the
        stable order of their names: a caller that counts up takes turns.

        What audited policies would refuse of what is served is in ``audit``.
        """
        verdict = self._decide(request, turn)
        if self._together is None or verdict.action is Action.BLOCK:
            return verdict
        together = self._together.decide(request, turn)
        if together.action is not Action.BLOCK:
            return verdict
        return dataclasses.replace(verdict, audit=together)

    def _decide(self, request: RequestView, turn: int) -> Verdict:
        if self._settled is not None:
            return self._settled
        if not _is_text(request):
            return Verdict(Action.BLOCK, Reason.BAD_TARGET)
        outcomes = [layer.decide(request, turn) for layer in self._layers]
        if len(outcomes) == 1:
            return outcomes[0]
        return _both(*outcomes)


def _is_text(request: RequestView) -> bool:
    """Whether method, path and host are UTF-8; what is not would slip past every wildcard."""
    for value in (request.method, request.path, request.host):
        if not value.isascii():
            try:
                value.decode()
            except UnicodeDecodeError:
                return False
    return True


def _both(egress: Verdict, ingress: Verdict) -> Verdict:
    for verdict in (egress, ingress):
        if verdict.action is Action.BLOCK:
            return verdict
    chosen = ingress
    if egress.action is Action.FORWARD or (
        ingress.action is Action.ALLOW and ingress.rule is None and egress.rule is not None
    ):
        chosen = egress
    return Verdict(
        chosen.action,
        chosen.reason,
        chosen.policy,
        chosen.rule,
        chosen.backend,
        tuple(dict.fromkeys((*egress.edits, *ingress.edits))),
        tuple(dict.fromkeys((*egress.logged, *ingress.logged))),
    )


class _Layer:
    """One direction's rules, compiled: blocks apart from the rest, which stays in order."""

    __slots__ = ("_blocks", "_effects", "_otherwise", "_rest", "_seen")

    def __init__(self, layer: HttpLayer, workloads: Sequence[Workload]) -> None:
        rules = [(rule, _Rule(rule, workloads)) for rule in layer.rules]
        self._blocks = tuple(one for rule, one in rules if rule.action is RuleAction.BLOCK)
        self._rest = tuple(one for rule, one in rules if rule.action is not RuleAction.BLOCK)
        self._seen: dict[tuple[bytes, bytes, bytes], _Candidates] = {}
        self._effects = any(rule.has_effects for rule in layer.rules)
        if layer.moot:
            self._otherwise = Verdict(Action.ALLOW, Reason.L4_ALLOWED)
        elif layer.default_allow:
            self._otherwise = Verdict(Action.ALLOW, Reason.DEFAULT_ALLOWED)
        else:
            self._otherwise = Verdict(Action.BLOCK, Reason.NO_RULE_MATCHED)

    def decide(self, request: RequestView, turn: int) -> Verdict:
        blocks, rest = self._candidates(request.method, request.path, request.host)
        for block in blocks:
            if block.headers_hold(request):
                return block.verdict(turn)
        if not self._effects:
            for rule in rest:
                if rule.headers_hold(request):
                    return rule.verdict(turn)
            return self._otherwise
        # Every matching rule makes its header changes, as in Cilium; the first one decides.
        matching = [rule for rule in rest if rule.headers_hold(request)]
        if not matching:
            return self._otherwise
        first = matching[0].verdict(turn)
        effects = [effect for rule in matching for effect in rule.effects(request)]
        return Verdict(
            first.action,
            first.reason,
            first.policy,
            first.rule,
            first.backend,
            tuple(dict.fromkeys(edit for edit, _ in effects if edit is not None)),
            tuple(dict.fromkeys(said for _, said in effects)),
        )

    def _candidates(self, method: bytes, path: bytes, host: bytes) -> _Candidates:
        """The rules that only headers can keep from matching; remembered, because a request seldom
        comes alone and to ask a thousand patterns takes a while."""
        key = method, path, host
        found = self._seen.get(key)
        if found is None:
            found = (
                tuple(rule for rule in self._blocks if rule.matches(method, path, host)),
                tuple(rule for rule in self._rest if rule.matches(method, path, host)),
            )
            if len(method) + len(path) + len(host) <= _REMEMBERED_BYTES:
                if len(self._seen) >= _REMEMBERED:
                    self._seen.clear()
                self._seen[key] = found
        return found


class _Rule:
    """One http rule, compiled: a field without a condition is None."""

    __slots__ = ("_hard", "_host", "_method", "_path", "_soft", "_verdicts")

    def __init__(self, rule: HttpRule, workloads: Sequence[Workload]) -> None:
        self._method = _matcher(rule.method)
        self._path = _matcher(rule.path)
        self._host = _matcher(rule.host)
        self._hard = tuple(header for header in rule.headers if header.mismatch is None)
        self._soft = tuple(header for header in rule.headers if header.mismatch is not None)
        self._verdicts = _verdicts(rule, workloads)

    def matches(self, method: bytes, path: bytes, host: bytes) -> bool:
        """Whether it matches if its headers hold."""
        return (
            (self._method is None or self._method(method))
            and (self._path is None or self._path(path))
            and (self._host is None or self._host(host))
        )

    def headers_hold(self, request: RequestView) -> bool:
        return not self._hard or all(header_holds(header, request) for header in self._hard)

    def verdict(self, turn: int) -> Verdict:
        return self._verdicts[turn % len(self._verdicts)]

    def effects(self, request: RequestView) -> list[tuple[HeaderEdit | None, str]]:
        """What a match changes in this request, and what to log about it."""
        return [
            _effect(header, request.header(header.name) is not None)
            for header in self._soft
            if not header_holds(header, request)
        ]


def _matcher(pattern: str | None) -> patterns.Matcher | None:
    return None if pattern is None else patterns.matcher(pattern)


def header_holds(header: HeaderRule, request: RequestView) -> bool:
    """Whether a request meets one header condition, whatever its mismatch action is."""
    value = request.header(header.name)
    return value is not None and (header.value is None or value == header.value)


def _effect(header: HeaderRule, present: bool) -> tuple[HeaderEdit | None, str]:
    name = header.name.decode()
    said = f"{name}: {'differs' if present else 'is missing'}"
    match header.mismatch:
        case Mismatch.ADD:
            return HeaderEdit(header.name, header.value, append=True), f"{said}, value added"
        case Mismatch.REPLACE:
            return HeaderEdit(header.name, header.value), f"{said}, value set"
        case Mismatch.DELETE if present:
            return HeaderEdit(header.name, None), f"{said}, deleted"
        case _:
            return None, said


def backends(rule: HttpRule, workloads: Sequence[Workload]) -> _Backends:
    """Where a forward rule can send requests now, in a stable order; empty where nowhere."""
    backend = rule.backend
    if backend is None:
        return ()
    if backend.address is not None:
        return ((backend.address, backend.port),)
    if backend.selector is None:
        return ()
    selector = backend.selector
    ready = [each for each in workloads if each.addresses and selectors.matches(selector, each)]
    return tuple((each.addresses[0], backend.port) for each in sorted(ready, key=_by_name))


def _by_name(workload: Workload) -> str:
    return workload.id


def _verdicts(rule: HttpRule, workloads: Sequence[Workload]) -> tuple[Verdict, ...]:
    """The verdicts that a match of this rule takes turns in: one, or one for each backend."""
    match rule.action:
        case RuleAction.BLOCK:
            return (Verdict(Action.BLOCK, Reason.RULE_BLOCKED, rule.policy, rule.label),)
        case RuleAction.ALLOW:
            return (Verdict(Action.ALLOW, Reason.RULE_ALLOWED, rule.policy, rule.label),)
        case RuleAction.FORWARD:
            found = backends(rule, workloads)
            if not found:
                return (Verdict(Action.FORWARD, Reason.NO_BACKEND, rule.policy, rule.label),)
            return tuple(
                Verdict(Action.FORWARD, Reason.RULE_FORWARDED, rule.policy, rule.label, backend)
                for backend in found
            )
