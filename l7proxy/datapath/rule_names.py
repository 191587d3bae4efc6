"""Which policy and rule the bit of a set stands for: the kernel knows rules by number only."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from l7proxy.compiler import rules_map
from l7proxy.compiler.tables import Tables
from l7proxy.datapath.names import EPOCHS, RULE_SETS
from l7proxy.reasons import Reason

SETS_KEPT = 2 * EPOCHS * RULE_SETS
"""Of rules: all that can be in force, and as many before them."""
NO_RULE = 0xFFFF
"""In place of a bit: no rule decided. As NO_RULE of bpf/http.h."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Why the kernel let a request through or refused it; names as in ``Verdict``."""

    reason: Reason
    policy: str | None = None
    rule: str | None = None


_Named = tuple[tuple[str, str] | None, ...]


class RuleNames:
    """By the ids of rules, as ``rules_map.rules_id`` gives them.

    They are kept in a file, because the kernel goes on with rules and counts of an agent before.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rules: dict[int, _Named] = {}
        self._otherwise: dict[int, Reason] = {}
        self._is_new = False
        reasons = {each.value: each for each in Reason}
        try:
            for number, reason, names in json.loads(path.read_text()):
                self._rules[number] = tuple(each and (each[0], each[1]) for each in names)
                self._otherwise[number] = reasons[reason]
        except (OSError, ValueError, TypeError, LookupError):
            self._rules.clear()  # their requests keep their counts and lose their rules' names

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
        self._is_new = True

    def save(self) -> None:
        """For the next agent. A disk that is full costs it names, nothing else."""
        if not self._is_new:
            return
        self._is_new = False
        for oldest in list(self._rules)[:-SETS_KEPT]:
            del self._rules[oldest]
        known = [
            [number, self._otherwise[number].value, names] for number, names in self._rules.items()
        ]
        fresh = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps(known, separators=(",", ":")))
            fresh.replace(self._path)

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
