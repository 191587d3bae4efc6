"""Deciding a request by walking the tables: the same answer as ``policy.decide``, in the same way
as the kernel."""

from __future__ import annotations

from l7proxy.compiler import alphabets
from l7proxy.compiler.tables import Field, FieldTable, LayerTable, Tables
from l7proxy.policy.model import HttpRule
from l7proxy.policy.verdict import Action, RequestView, Verdict
from l7proxy.reasons import Reason


def decide_tables(tables: Tables, request: RequestView) -> Verdict:
    """The verdict on one request, with the policy and rule that decided it.

    A request that ``l7proxy.http`` would not have accepted is blocked with BAD_TARGET.
    """
    if tables.settled is not None:
        return tables.settled
    if not _is_acceptable(request):
        return Verdict(Action.BLOCK, Reason.BAD_TARGET)
    return verdict_of(tables, satisfied(tables, request))


def verdict_of(tables: Tables, matched: int) -> Verdict:
    """The verdict on a request that the rules of the bit set ``matched`` match in every field."""
    verdicts = [_layer(tables.rules, layer, matched) for layer in tables.layers]
    for verdict in verdicts:
        if verdict.action is Action.BLOCK:
            return verdict
    # The last layer answers, unless only an earlier one has a rule to name.
    return next((each for each in reversed(verdicts) if each.rule is not None), verdicts[-1])


def satisfied(tables: Tables, request: RequestView) -> int:
    """The bit set of the rules that the request matches in every field."""
    matched = (1 << len(tables.rules)) - 1
    for table in tables.fields:
        matched &= _field(table, request)
    return matched


def _field(table: FieldTable, request: RequestView) -> int:
    match table.field:
        case Field.METHOD_AND_PATH:
            return table.dfa.match(request.method + b" " + request.path)
        case Field.HOST:
            return table.dfa.match(request.host)
        case Field.HEADER:
            value = request.header(table.name)
            return table.absent if value is None else table.dfa.match(value)


def _layer(rules: tuple[HttpRule, ...], layer: LayerTable, matched: int) -> Verdict:
    hit = matched & layer.rules
    blocked = hit & layer.blocks
    decisive = blocked or hit
    if not decisive:
        return layer.otherwise
    rule = rules[(decisive & -decisive).bit_length() - 1]
    if blocked:
        return Verdict(Action.BLOCK, Reason.RULE_BLOCKED, rule.policy, rule.label)
    return Verdict(Action.ALLOW, Reason.RULE_ALLOWED, rule.policy, rule.label)


def _is_acceptable(request: RequestView) -> bool:
    return (
        request.method != b""
        and request.path != b""
        and alphabets.is_made_of(request.method, alphabets.METHOD)
        and alphabets.is_made_of(request.path, alphabets.PATH)
        and alphabets.is_made_of(request.host.lower(), alphabets.HOST)
    )
