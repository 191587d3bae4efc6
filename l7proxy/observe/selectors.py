"""Label selectors of ``--label``: Kubernetes' own language, over labels as flows have them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

_KEY = r"(?:(?P<source>[A-Za-z0-9-]+):)?(?P<key>[A-Za-z0-9._/-]+)"
_VALUE = r"[A-Za-z0-9._/:-]*"
_SET = re.compile(rf"{_KEY}\s+(?P<not>not)?in\s*\((?P<values>[^()]*)\)")
_COMPARED = re.compile(rf"{_KEY}\s*(?P<operator>==|=|!=)\s*(?P<value>{_VALUE})")
_PRESENT = re.compile(rf"(?P<not>!)?\s*{_KEY}")
_COMMA = re.compile(r",(?![^()]*\))")


class Label(NamedTuple):
    """``k8s:app=users`` is of source ``k8s``; without one the source is empty."""

    source: str
    key: str
    value: str


Selector = Callable[[Sequence[Label]], bool]


def labels(written: Iterable[str]) -> list[Label]:
    """The labels of an endpoint in a flow."""
    found = []
    for each in written:
        key, _, value = each.partition("=")
        source, colon, name = key.partition(":")
        found.append(Label(source, name, value) if colon else Label("", key, value))
    return found


def parse(selector: str) -> Selector:
    """Whether all requirements of ``app=users,env in (a, b),!old`` hold. Raises ValueError."""
    requirements = [_requirement(part.strip(), selector) for part in _COMMA.split(selector)]
    return lambda having: all(holds(having) for holds in requirements)


def _requirement(text: str, selector: str) -> Selector:
    if found := _SET.fullmatch(text):
        values = {value.strip() for value in found["values"].split(",")}
        return _compared(found, values, negated=found["not"] is not None)
    if found := _COMPARED.fullmatch(text):
        return _compared(found, {found["value"]}, negated=found["operator"] == "!=")
    if found := _PRESENT.fullmatch(text):
        return _compared(found, None, negated=found["not"] is not None)
    raise ValueError(
        f"{selector!r} is not a label selector: write key=value, key!=value, key in (a, b), key"
    )


def _compared(found: re.Match[str], values: set[str] | None, *, negated: bool) -> Selector:
    """As in Kubernetes, what is negated holds too where there is no such label."""
    source, key = found["source"], found["key"]

    def holds(having: Sequence[Label]) -> bool:
        met = any(
            label.key == key
            and source in (None, "any", label.source)
            and (values is None or label.value in values)
            for label in having
        )
        return met != negated

    return holds
