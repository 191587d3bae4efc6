"""What PromQL expressions name: metrics, matchers and grouping labels. Not a parser of the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<range>\[[^\]]*\])
    |(?P<number>\d[\w.]*)
    |(?P<word>[A-Za-z_:][\w:]*)
    |(?P<sign>=~|!~|!=|==|>=|<=|[-+*/<>=(){},])""",
    re.VERBOSE,
)
_CLAUSES = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_KEYWORDS = {"and", "or", "unless", "offset", "bool"}
_AGGREGATIONS = {"sum", "min", "max", "avg", "count", "topk", "bottomk"}


class Matcher(NamedTuple):
    label: str
    sign: str
    value: str


class Selector(NamedTuple):
    metric: str
    matchers: tuple[Matcher, ...]


@dataclass(slots=True)
class Named:
    """Everything one expression names."""

    selectors: list[Selector] = field(default_factory=list)
    groupings: set[str] = field(default_factory=set)


def named_in(expression: str) -> Named:
    """Raises ValueError for what it does not understand."""
    tokens = list(_tokens(expression))
    found = Named()
    at = 0
    while at < len(tokens):
        word, following = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        at += 1
        if not re.match(r"[A-Za-z_:]", word) or word in _KEYWORDS:
            continue
        if word in _CLAUSES:
            end = tokens.index(")", at)
            found.groupings |= {each for each in tokens[at + 1 : end] if each != ","}
            at = end + 1
        elif following == "{":
            end = tokens.index("}", at)
            found.selectors.append(Selector(word, tuple(_matchers(tokens[at + 1 : end]))))
            at = end + 1
        elif following != "(" and word not in _AGGREGATIONS:
            found.selectors.append(Selector(word, ()))
    return found


def _tokens(expression: str) -> Iterator[str]:
    at = 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise ValueError(f"not understood: {expression[at:]}")
        at = match.end()
        if match.lastgroup != "space":
            yield match[0]


def _matchers(tokens: list[str]) -> Iterator[Matcher]:
    for at in range(0, len(tokens), 4):
        label, sign, value = tokens[at : at + 3]
        yield Matcher(label, sign, value.strip('"'))
