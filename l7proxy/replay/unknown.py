"""What an admission means where some header fields of a request are unknown. Pure.

A rule that asks for an unknown field may match or not. With such allow and forward rules taken to
match and block rules not to, more is served than with any values; the other way round, less is.
Where the two agree, the values make no difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from l7proxy.policy.model import HttpRule, RuleAction
from l7proxy.policy.verdict import Admission, HttpLayer


def loosest(admission: Admission, unknown: frozenset[bytes]) -> Admission:
    """The admission that serves whatever is served with some values of the unknown fields."""
    return _bound(admission, unknown, serving=True)


def strictest(admission: Admission, unknown: frozenset[bytes]) -> Admission:
    """The admission that serves only what is served with all values of the unknown fields."""
    return _bound(admission, unknown, serving=False)


def unknown_asked(admission: Admission, unknown: frozenset[bytes]) -> frozenset[bytes]:
    """Those of the unknown fields that a rule asks for, audited rules included."""
    asked = {
        header.name
        for layer in admission.layers
        for rule in layer.rules
        for header in rule.headers
        if header.mismatch is None and header.name in unknown
    }
    if admission.audit is not None:
        asked |= unknown_asked(admission.audit.together, unknown)
    return frozenset(asked)


def _bound(admission: Admission, unknown: frozenset[bytes], *, serving: bool) -> Admission:
    layers = tuple(
        dataclasses.replace(layer, rules=tuple(_rules(layer, unknown, serving=serving)))
        for layer in admission.layers
    )
    audit = admission.audit
    if audit is not None:
        together = _bound(audit.together, unknown, serving=serving)
        audit = dataclasses.replace(audit, together=together)
    return dataclasses.replace(admission, layers=layers, audit=audit)


def _rules(layer: HttpLayer, unknown: frozenset[bytes], *, serving: bool) -> Iterator[HttpRule]:
    for rule in layer.rules:
        kept = tuple(
            header
            for header in rule.headers
            if header.mismatch is not None or header.name not in unknown
        )
        matches = serving != (rule.action is RuleAction.BLOCK)
        if len(kept) == len(rule.headers):
            yield rule
        elif matches:
            yield dataclasses.replace(rule, headers=kept)
