"""Which policy and rule the bit of a set stands for: the kernel knows rules by number only."""

from __future__ import annotations

from dataclasses import dataclass

from l7proxy.compiler import rules_map
from l7proxy.compiler.tables import Tables
from l7proxy.reasons import Reason

NO_RULE = 0xFFFF
"""In place of a bit: no rule decided. As NO_RULE of bpf/http.h."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Why the kernel let a request through or refused it; names as in ``Verdict``."""

    reason: Reason
    policy: str | None = None
    rule: str | None = None


class RuleNames:
    """By the ids of rules, as ``rules_map.rules_id`` gives them."""

    def __init__(self) -> None:
        self._rules: dict[int, tuple[tuple[str, str] | None, ...]] = {}
        self._otherwise: dict[int, Reason] = {}

    def learn(self, tables: Tables) -> None:
        """Rules that are about to come into force; what was known before stays known."""
        number = rules_map.rules_id(tables)
        if number in self._rules or not tables.layers:
            return
        rules = tables.rules
        self._rules[number] = tuple(
            None if each < 0 else (rules[each].policy, rules[each].label)
            for each in rules_map.bit_order(tables)
        )
        self._otherwise[number] = tables.layers[-1].otherwise.reason

    def attribution(self, rules: int, bit: int, reason: Reason) -> Attribution:
        """``reason`` is the kernel's, which has only one for all that it lets through."""
        named = None
        known = self._rules.get(rules, ())
        if reason in (Reason.RULE_ALLOWED, Reason.RULE_BLOCKED) and bit < len(known):
            named = known[bit]
        if named is not None:
            return Attribution(reason, *named)
        if reason is Reason.RULE_ALLOWED and bit == NO_RULE:
            return Attribution(self._otherwise.get(rules, reason))
        return Attribution(reason)
