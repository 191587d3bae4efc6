"""Rules and grammars of the kernel road, in the maps where programs find them by number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from l7proxy.compiler import head_map, rules_map
from l7proxy.compiler.head_request import request_grammar
from l7proxy.compiler.head_response import response_grammar
from l7proxy.compiler.rules_map import SizeClass
from l7proxy.compiler.tables import Tables, watched
from l7proxy.datapath.names import EPOCHS, GRAMMARS, RULE_SETS, rules_place
from l7proxy.datapath.numbered import Numbered
from l7proxy.datapath.store import Store

RESPONSES = 0
"""The number of the grammar of responses."""

_RESPONSES_NAME = "responses to all requests"  # no list of header names has a space


@dataclass(frozen=True, slots=True)
class Placed:
    """Where rules are: the map of their size class, their number in it, and their grammar's."""

    size: SizeClass
    number: int
    grammar: int


class RuleMaps:
    """The maps ``grammars``, ``small_rules`` and ``large_rules``."""

    def __init__(self, store: Store) -> None:
        """Raises OSError."""
        self._grammars = Numbered(
            store.folder / "grammars", EPOCHS * GRAMMARS + 1, head_map.VALUE_BYTES
        )
        self._rules = {
            size: Numbered(
                store.folder / f"{size.name.lower()}_rules", EPOCHS * RULE_SETS, size.value_bytes
            )
            for size in SizeClass
        }
        self._adopted_grammars = self._grammars.used
        self._placed: dict[str, Placed] = {}
        if RESPONSES not in self._grammars.used:
            self._grammars.put(RESPONSES, _RESPONSES_NAME, head_map.map_value(response_grammar()))

    def place(self, tables: Tables) -> Placed:
        """Where ``tables`` are; they are put there if they are new.

        Raises OSError; Unsupported and TooLarge for what ``compiler.roads`` would not have let by.
        """
        known = self._placed.get(tables.digest)
        if known is not None:
            return known
        names = watched(tables.fields)
        grammar = self._grammars.assign(
            b",".join(names).decode(),
            lambda: head_map.map_value(request_grammar(names)),
        )
        size, value = rules_map.map_value(tables, grammar)
        number = self._rules[size].assign(tables.digest, lambda: value)
        placed = self._placed[tables.digest] = Placed(size, number, grammar)
        return placed

    def retire(self, roads: Iterable[int]) -> None:
        """Removes what none of ``roads`` names, which are all values that the map roads has."""
        places = {place for place in map(rules_place, roads) if place is not None}
        keep = {size: {n for number, n in places if number == size.number} for size in SizeClass}
        self._placed = {
            digest: each for digest, each in self._placed.items() if each.number in keep[each.size]
        }
        grammars = {RESPONSES, *(each.grammar for each in self._placed.values())}
        known = {(each.size, each.number) for each in self._placed.values()}
        if any((size, n) not in known for size in SizeClass for n in keep[size]):
            # Rules of an agent before this one: which grammars they have is not known here.
            grammars |= self._adopted_grammars
        for size, numbered in self._rules.items():
            numbered.retire(keep[size])
        self._grammars.retire(grammars)

    def sizes(self) -> dict[str, int]:
        """For status: sets of rules and grammars that are loaded, and the bytes of both."""
        counts = {size: len(each.used) for size, each in self._rules.items()}
        grammars = len(self._grammars.used)
        return {
            "kernel_rule_sets": sum(counts.values()),
            "kernel_grammars": grammars,
            "kernel_table_bytes": grammars * head_map.VALUE_BYTES
            + sum(count * size.value_bytes for size, count in counts.items()),
        }

    def close(self) -> None:
        """Lets go; what is pinned stays."""
        for each in (self._grammars, *self._rules.values()):
            each.close()
