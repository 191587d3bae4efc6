"""Rules that others leave nothing to decide, found without comparing each with each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from l7proxy.policy import patterns
from l7proxy.policy.model import HeaderRule, HttpRule


class Wider:
    """The rules of a list, kept so that those are at hand that another rule could be covered by."""

    def __init__(self, rules: Sequence[HttpRule]) -> None:
        self._methods = _Patterns(rule.method for rule in rules)
        self._paths = _Patterns(rule.path for rule in rules)
        self._hosts = _Patterns(rule.host for rule in rules)
        self._headers = _Headers(_asked(rule) for rule in rules)

    def than(self, rule: HttpRule) -> list[int]:
        """The places, in order, of the rules that may match all that ``rule`` matches: every one
        for which ``cover.http`` holds is among them."""
        fewest = min(
            self._paths.wider(rule.path),
            self._hosts.wider(rule.host),
            self._methods.wider(rule.method),
            self._headers.wider(_asked(rule)),
            key=len,
        )
        return sorted(fewest)


class _Patterns:
    """One field of all rules: see ``cover`` for when one pattern holds wherever another does."""

    def __init__(self, given: Iterable[str | None]) -> None:
        self._free: list[int] = []
        self._engines: list[int] = []
        self._by_text: defaultdict[str, list[int]] = defaultdict(list)
        self._by_value: defaultdict[bytes, list[int]] = defaultdict(list)
        for place, pattern in enumerate(given):
            if pattern is None:
                self._free.append(place)
                continue
            values = patterns.literals(pattern)
            if values is None:
                self._engines.append(place)
                self._by_text[pattern].append(place)
            for value in set(values or ()):
                self._by_value[value].append(place)

    def wider(self, pattern: str | None) -> list[int]:
        if pattern is None:
            return self._free
        values = patterns.literals(pattern)
        if values is None:
            return self._free + self._by_text.get(pattern, [])
        return self._free + self._engines + self._by_value.get(values[0], [])


class _Headers:
    """The headers without which rules do not match. Each rule is kept by one of its own."""

    def __init__(self, given: Iterable[frozenset[HeaderRule]]) -> None:
        self._free: list[int] = []
        self._by_one: defaultdict[HeaderRule, list[int]] = defaultdict(list)
        for place, asked in enumerate(given):
            kept = self._by_one[next(iter(asked))] if asked else self._free
            kept.append(place)

    def wider(self, asked: frozenset[HeaderRule]) -> list[int]:
        return self._free + [place for each in asked for place in self._by_one.get(each, ())]


def _asked(rule: HttpRule) -> frozenset[HeaderRule]:
    return frozenset(header for header in rule.headers if header.mismatch is None)
