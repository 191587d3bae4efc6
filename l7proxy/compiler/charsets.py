"""Sets of code points as RE2 sees them, and their bytes in UTF-8.

A set is a sorted tuple of ranges (first, last), both included, that neither overlap nor touch.
What belongs to a Unicode class, and what equals what when case is ignored, is asked of RE2
itself: its tables and Python's come from different versions of Unicode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache, lru_cache

import re2

from l7proxy.compiler.errors import Unsupported

Ranges = tuple[tuple[int, int], ...]
ByteRange = tuple[int, int]

ASCII_TOP = 0x7F
UNICODE_TOP = 0x10FFFF

_DIGIT: Ranges = ((0x30, 0x39),)
_UPPER: Ranges = ((0x41, 0x5A),)
_LOWER: Ranges = ((0x61, 0x7A),)
_ALPHA = _UPPER + _LOWER
_ALNUM = _DIGIT + _ALPHA
_WORD: Ranges = (*_DIGIT, *_UPPER, (0x5F, 0x5F), *_LOWER)

PERL: dict[str, Ranges] = {
    "d": _DIGIT,
    "s": ((0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20)),
    "w": _WORD,
}
POSIX: dict[str, Ranges] = {
    "alnum": _ALNUM,
    "alpha": _ALPHA,
    "ascii": ((0x00, 0x7F),),
    "blank": ((0x09, 0x09), (0x20, 0x20)),
    "cntrl": ((0x00, 0x1F), (0x7F, 0x7F)),
    "digit": _DIGIT,
    "graph": ((0x21, 0x7E),),
    "lower": _LOWER,
    "print": ((0x20, 0x7E),),
    "punct": ((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)),
    "space": ((0x09, 0x0D), (0x20, 0x20)),
    "upper": _UPPER,
    "word": _WORD,
    "xdigit": (*_DIGIT, (0x41, 0x46), (0x61, 0x66)),
}

# The two letters outside ASCII that equal an ASCII letter when case is ignored.
_LONG_S, _KELVIN = 0x17F, 0x212A


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The set of all code points in any of ``ranges``, which may overlap in any order."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            if last > merged[-1][1]:
                merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return tuple(merged)


def complement(ranges: Ranges, top: int) -> Ranges:
    """All code points up to ``top`` that are not in ``ranges``."""
    gaps = []
    start = 0
    for first, last in ranges:
        if start < first:
            gaps.append((start, first - 1))
        start = last + 1
    if start <= top:
        gaps.append((start, top))
    return tuple(gaps)


def cut(ranges: Ranges, top: int) -> Ranges:
    """The part of ``ranges`` up to ``top``."""
    if not ranges or ranges[-1][1] <= top:
        return ranges
    return tuple((first, min(last, top)) for first, last in ranges if first <= top)


def folded(ranges: Ranges, top: int) -> Ranges:
    """``ranges`` and whatever equals one of them when case is ignored, up to ``top``."""
    if not ranges:
        return ()
    if ranges[-1][1] > ASCII_TOP:
        inside = "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in ranges)
        return probe(f"(?i)[{inside}]", top)
    found = list(ranges)
    for first, last in ranges:
        for low, high, shift in ((0x41, 0x5A, 0x20), (0x61, 0x7A, -0x20)):
            start, end = max(first, low), min(last, high)
            if start <= end:
                found.append((start + shift, end + shift))
    result = union(found)
    if top > ASCII_TOP:
        extra = [(_LONG_S, _LONG_S)] if contains(result, 0x73) else []
        extra += [(_KELVIN, _KELVIN)] if contains(result, 0x6B) else []
        result += tuple(extra)
    return result


def contains(ranges: Ranges, point: int) -> bool:
    return any(first <= point <= last for first, last in ranges)


def unicode_class(name: str, top: int, *, fold: bool) -> Ranges:
    """The code points up to ``top`` of ``\\p{name}``. Raises Unsupported if RE2 knows no such."""
    return probe(f"{'(?i)' if fold else ''}\\p{{{name}}}", top)


@lru_cache(maxsize=512)
def probe(expression: str, top: int) -> Ranges:
    """The code points up to ``top`` that RE2 says ``expression``, a single character, matches."""
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(f"(?:{expression})+".encode(), options)
    except (re2.error, UnicodeEncodeError):
        raise Unsupported(f"RE2 does not know {expression}") from None
    return tuple(
        (_point_at(match.start()), _point_at(match.end()) - 1)
        for match in compiled.finditer(_every_code_point(top))
    )


@cache
def _every_code_point(top: int) -> bytes:
    return "".join(map(chr, range(top + 1))).encode("utf-8", "surrogatepass")


def _point_at(offset: int) -> int:
    """The code point that starts at ``offset`` of ``_every_code_point``."""
    for width, (start, first) in ((4, (0x2F780, 0x10000)), (3, (0xF80, 0x800)), (2, (0x80, 0x80))):
        if offset >= start:
            return first + (offset - start) // width
    return offset


# What RE2 takes for "everything from U+0080 on": it lets through overlong and too large forms.
_EVERYTHING_ELSE: tuple[tuple[ByteRange, ...], ...] = (
    ((0xC2, 0xDF), (0x80, 0xBF)),
    ((0xE0, 0xEF), (0x80, 0xBF), (0x80, 0xBF)),
    ((0xF0, 0xF4), (0x80, 0xBF), (0x80, 0xBF), (0x80, 0xBF)),
)


def utf8(ranges: Ranges) -> Iterator[tuple[ByteRange, ...]]:
    """The sequences of byte ranges that spell the code points of a set, as RE2 compiles them."""
    for first, last in ranges:
        yield from _sequences(first, last)


def _sequences(first: int, last: int) -> Iterator[tuple[ByteRange, ...]]:
    if (first, last) == (0x80, UNICODE_TOP):
        yield from _EVERYTHING_ELSE
        return
    for longest in (0x7F, 0x7FF, 0xFFFF):
        if first <= longest < last:
            yield from _sequences(first, longest)
            yield from _sequences(longest + 1, last)
            return
    if last <= ASCII_TOP:
        yield ((first, last),)
        return
    for tail in (0x3F, 0xFFF, 0x3FFFF):
        if first & ~tail == last & ~tail:
            continue
        if first & tail:
            yield from _sequences(first, first | tail)
            yield from _sequences((first | tail) + 1, last)
            return
        if last & tail != tail:
            yield from _sequences(first, (last & ~tail) - 1)
            yield from _sequences(last & ~tail, last)
            return
    yield tuple(zip(encode(first), encode(last), strict=True))


def encode(point: int) -> bytes:
    """One code point in UTF-8, surrogates too, as RE2 does."""
    return chr(point).encode("utf-8", "surrogatepass")
