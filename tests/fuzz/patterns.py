"""Patterns: what RE2 refuses has no table, and what has one matches as RE2 matches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import re2

from l7proxy.compiler.dfa import compile_patterns
from l7proxy.compiler.errors import Bounds, TooLarge, Unsupported
from tests.compiler.support import BROKEN, CHARACTERS, LEAVES, QUANTIFIERS, TOKENS, reference
from tests.fuzz.target import Target

BOUNDS = Bounds(states=512, table_bytes=1 << 18, steps=20_000)
_SINGLE_BYTES = "\\C matches single bytes"


def run(data: bytes) -> None:
    """Patterns, one a line, at most three; behind an empty line values, one a line."""
    patterns, _, values = data.partition(b"\n\n")
    try:
        texts = patterns.decode().split("\n")[:3]
    except UnicodeDecodeError:
        return
    tried = list(_values(values.split(b"\n"), texts))
    together = [_check(text, tried) for text in texts]
    known = [each for each in together if each is not None]
    if len(known) < 2 or len(known) < len(texts):
        return
    try:
        table = compile_patterns(texts, BOUNDS)
    except TooLarge:
        return
    for value in tried:
        bits = sum(1 << at for at, each in enumerate(known) if each.fullmatch(value))
        assert table.match(value) == bits, value


def _check(pattern: str, tried: list[bytes]) -> re2._Regexp | None:
    """RE2's own form of the pattern where it has a table."""
    expected = reference(pattern)
    try:
        table = compile_patterns([pattern], BOUNDS)
    except Unsupported as error:
        assert expected is None or error.reason.startswith(_SINGLE_BYTES), error.reason
        return None
    except TooLarge:
        return None
    assert expected is not None, "RE2 refuses what has a table"
    for value in tried:
        assert table.match(value) == (expected.fullmatch(value) is not None), value
    return expected


def _values(given: list[bytes], patterns: list[str]) -> Iterator[bytes]:
    """The values themselves, the patterns' own text, and each with something put in."""
    base = [*given[:8], *(text.encode() for text in patterns), b""]
    yield from base
    for value, piece in itertools.product(base[:4], (*BROKEN[:3], *CHARACTERS[:6])):
        middle = len(value) // 2
        yield value[:middle] + piece + value[middle:]
        yield value + piece


def seeds() -> Iterator[bytes]:
    for leaf in LEAVES:
        for flag in ("(?:", "(?i:"):
            examples = b"\n".join((*leaf.examples, *map(bytes.swapcase, leaf.examples)))
            yield f"{flag}{leaf.text})".encode() + b"\n\n" + examples
    for quantifier, _ in QUANTIFIERS:
        yield f"(?:a|[^/]){quantifier}/\nb.*\n\naa/\nb".encode()
    yield from (b"/users/[^/]+\n(?i)/LOGIN\n\n/users/1\n/login", b"(?m)a$\n^b\n\na\nb")


PIECES = (*(token.encode() for token in TOKENS), *BROKEN, b"\n\n")

TARGET = Target(run, seeds, PIECES, most_bytes=128)
