"""An admission's rules as tables: what the kernel and ``explain`` decide its requests with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from l7proxy.compiler.cache import DfaCache
from l7proxy.compiler.dfa import Dfa
from l7proxy.compiler.errors import DEFAULT_BOUNDS, Bounds, Unsupported
from l7proxy.compiler.fields import header_table, host_table, method_and_path
from l7proxy.compiler.tables import Field, FieldTable, LayerTable, Tables
from l7proxy.policy.model import HttpRule, RuleAction
from l7proxy.policy.verdict import Action, Admission, HttpLayer, Verdict
from l7proxy.reasons import Reason


def compile_admission(
    admission: Admission, bounds: Bounds = DEFAULT_BOUNDS, cache: DfaCache | None = None
) -> Tables:
    """The tables that decide every request of ``admission`` as ``policy.decide`` does.

    Raises Unsupported where a rule forwards requests, or changes or logs headers, or has a
    pattern without an automaton; TooLarge where one table passes ``bounds``.
    """
    if not admission.allowed or not admission.layers:
        action = Action.ALLOW if admission.allowed else Action.BLOCK
        settled = Verdict(action, admission.reason, admission.policy, admission.rule)
        return Tables(settled, (), (), (), _digest(settled, (), ()))
    rules = tuple(rule for layer in admission.layers for rule in layer.rules)
    for rule in rules:
        if rule.action is RuleAction.FORWARD:
            raise Unsupported(f"rule {rule.label} of policy {rule.policy} forwards requests")
        if rule.has_effects:
            raise Unsupported(f"rule {rule.label} of policy {rule.policy} logs or changes headers")
    if cache is None:
        cache = DfaCache()
    fields = tuple(
        FieldTable(
            spec.field,
            spec.name,
            cache.get((spec.field.value, spec.content), bounds, spec.make),
            spec.absent,
        )
        for spec in _specs(rules)
    )
    layers = tuple(_layers(admission.layers))
    return Tables(None, rules, layers, fields, _digest(None, layers, fields, rules))


class _Spec(NamedTuple):
    """A table to make: ``content`` is all that it depends on besides the bounds."""

    field: Field
    name: bytes
    absent: int
    content: object
    make: Callable[[Bounds], Dfa]


def _specs(rules: Sequence[HttpRule]) -> Iterable[_Spec]:
    pairs = tuple((rule.method, rule.path) for rule in rules)
    if any(pair != (None, None) for pair in pairs):
        yield _Spec(Field.METHOD_AND_PATH, b"", 0, pairs, partial(method_and_path, pairs))
    hosts = tuple(rule.host for rule in rules)
    if any(host is not None for host in hosts):
        yield _Spec(Field.HOST, b"", 0, hosts, partial(host_table, hosts))
    for name in sorted({header.name for rule in rules for header in rule.headers}):
        asked = tuple(
            tuple(header.value for header in rule.headers if header.name == name) for rule in rules
        )
        absent = sum(1 << number for number, conditions in enumerate(asked) if not conditions)
        yield _Spec(Field.HEADER, name, absent, asked, partial(header_table, asked))


def _layers(layers: Iterable[HttpLayer]) -> Iterable[LayerTable]:
    first = 0
    for layer in layers:
        blocks = sum(
            1 << number
            for number, rule in enumerate(layer.rules, first)
            if rule.action is RuleAction.BLOCK
        )
        last = first + len(layer.rules)
        yield LayerTable(layer.direction, (1 << last) - (1 << first), blocks, _otherwise(layer))
        first = last


def _otherwise(layer: HttpLayer) -> Verdict:
    if layer.moot:
        return Verdict(Action.ALLOW, Reason.L4_ALLOWED)
    if layer.default_allow:
        return Verdict(Action.ALLOW, Reason.DEFAULT_ALLOWED)
    return Verdict(Action.BLOCK, Reason.NO_RULE_MATCHED)


def _digest(
    settled: Verdict | None,
    layers: Sequence[LayerTable],
    fields: Sequence[FieldTable],
    rules: Sequence[HttpRule] = (),
) -> str:
    """Rules are in it by their names too: who is asked which rule decided must not mix them up."""
    names = [(rule.policy, rule.label) for rule in rules]
    digest = hashlib.sha256(repr((settled, layers, names)).encode())
    for each in fields:
        dfa = each.dfa
        head = (each.field, each.name, each.absent, dfa.start, dfa.width, dfa.accepts)
        for part in (repr(head).encode(), dfa.classes, dfa.transitions, dfa.accept):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
