"""Bracketed classes, escaped groups (``\\d``, ``\\p{Greek}``) and escaped characters."""

from __future__ import annotations

import re

from l7proxy.compiler.charsets import (
    PERL,
    POSIX,
    UNICODE_TOP,
    Ranges,
    complement,
    cut,
    folded,
    unicode_class,
    union,
)
from l7proxy.compiler.errors import Unsupported

_NAME = re.compile(r"\^?[A-Za-z_]+")
_POSIX = re.compile(r"\[:(\^?)([a-z]+):\]")
_HEX = re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})")
_OCTAL = re.compile(r"0[0-7]{0,2}|[1-7][0-7]{1,2}")
_CONTROL = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}


def parse_class(text: str, at: int, top: int, *, fold: bool) -> tuple[Ranges, int]:
    """The set of the class that opens at ``text[at]``, and the offset after it."""
    at += 1
    negated = text.startswith("^", at)
    at += negated
    first = at
    found: list[tuple[int, int]] = []
    while at < len(text) and (text[at] != "]" or at == first):
        group = _posix(text, at, top, fold=fold)
        if group is None:
            group = parse_escaped_group(text, at, top, fold=fold)
        if group is not None:
            found.extend(group[0])
            at = group[1]
            continue
        low, at = _member(text, at)
        high = low
        if text.startswith("-", at) and at + 1 < len(text) and text[at + 1] != "]":
            high, at = _member(text, at + 1)
            if high < low:
                raise Unsupported("a range in a class runs backwards")
        member: Ranges = ((low, high),)
        found.extend(folded(member, top) if fold else member)
    if at >= len(text):
        raise Unsupported("a class is not closed")
    ranges = cut(union(found), top)
    return (complement(ranges, top) if negated else ranges), at + 1


def parse_escaped_group(text: str, at: int, top: int, *, fold: bool) -> tuple[Ranges, int] | None:
    """The set of a ``\\d`` or ``\\p{..}`` at ``text[at]`` and the offset after it; else None."""
    if not text.startswith("\\", at):
        return None
    letter = text[at + 1 : at + 2]
    if letter and letter in "dswDSW":
        return _group(PERL[letter.lower()], top, negated=letter.isupper(), fold=fold), at + 2
    if letter not in ("p", "P"):
        return None
    end = at + 3
    name = text[at + 2 : end]
    if name == "{":
        end = text.find("}", at) + 1
        name = text[at + 3 : end - 1] if end else ""
    if not _NAME.fullmatch(name):
        raise Unsupported(f"the class {text[at : at + 20]}")
    negated = (letter == "P") != name.startswith("^")
    inside = unicode_class(name.removeprefix("^"), top, fold=fold)
    return (complement(inside, top) if negated else inside), end


def _posix(text: str, at: int, top: int, *, fold: bool) -> tuple[Ranges, int] | None:
    if not text.startswith("[:", at) or text.find(":]", at + 2) < 0:
        return None
    match = _POSIX.match(text, at)
    if match is None or match[2] not in POSIX:
        raise Unsupported(f"the class {text[at : at + 20]}")
    return _group(POSIX[match[2]], top, negated=bool(match[1]), fold=fold), match.end()


def _group(ranges: Ranges, top: int, *, negated: bool, fold: bool) -> Ranges:
    inside = folded(ranges, top) if fold else ranges
    return complement(inside, top) if negated else inside


def _member(text: str, at: int) -> tuple[int, int]:
    if at >= len(text):
        raise Unsupported("a class is not closed")
    return parse_escape(text, at) if text[at] == "\\" else (ord(text[at]), at + 1)


def parse_escape(text: str, at: int) -> tuple[int, int]:
    """The code point of the escape at ``text[at]``, and the offset after it."""
    at += 1
    for expression in (_HEX, _OCTAL):
        match = expression.match(text, at)
        if match is not None:
            digits = (match[1] or match[2]) if expression is _HEX else match[0]
            point = int(digits, 16 if expression is _HEX else 8)
            if point > UNICODE_TOP:
                break
            return point, match.end()
    letter = text[at : at + 1]
    if letter in _CONTROL:
        return _CONTROL[letter], at + 1
    if letter and letter.isascii() and not letter.isalnum():
        return ord(letter), at + 1
    raise Unsupported(f"the escape \\{letter}")
