"""Patterns and values to compare with RE2 on: grown from a grammar, or thrown together."""

# Letters that look like others are what these patterns and values are about.
# ruff: noqa: RUF001

from __future__ import annotations

from dataclasses import dataclass

import re2
from hypothesis import strategies as st


def reference(pattern: str) -> re2._Regexp | None:
    """RE2's own idea of the pattern; None where it refuses it."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return None


@dataclass(frozen=True)
class Grown:
    """A piece of a pattern, and values that are likely to match it."""

    text: str
    examples: tuple[bytes, ...]


def _literal(text: str, value: str | None = None) -> Grown:
    return Grown(text, ((value or text).encode(),))


def _class(text: str, *inside: str) -> Grown:
    return Grown(text, tuple(each.encode() for each in inside))


LEAVES = [
    *map(_literal, ("a", "b", "k", "S", "/", "-", "é", "ſ", "ab", "/v1", "σ", "日")),
    _literal(r"\.", "."),
    _literal(r"\x41", "A"),
    _literal(r"\x{e9}", "é"),
    _literal(r"\Qa.b*\E", "a.b*"),
    _literal(r"\n", "\n"),
    _literal(r"\101", "A"),
    _class(".", "x", "é", "\n", "\U0001f600"),
    _class("[^/]", "a", "/", "é"),
    _class("[a-c]", "a", "c", "d", "B"),
    _class("[^a-c]", "a", "d", "B", "é"),
    _class("[[:alpha:]_]", "z", "Z", "_", "1"),
    _class("[[:^digit:]]", "1", "x", "é"),
    _class(r"[\d.-]", "7", ".", "-", "٠"),
    _class(r"\w", "w", "_", "é", "ſ"),
    _class(r"\W", "w", "/", "é", "ſ"),
    _class(r"\s", " ", "\t", "\v", "\u00a0"),
    _class(r"\pL", "é", "a", "日", "1"),
    _class(r"\P{Lu}", "é", "A", "É"),
    _class(r"\p{Greek}", "σ", "ς", "a"),
    _class(r"[\x{80}-\x{10ffff}]", "\x80", "a", "\U0010ffff"),
    _class(r"[é-ſk]", "é", "k", "K", "\u212a"),
    Grown("^", (b"",)),
    Grown("$", (b"",)),
    Grown(r"\A", (b"",)),
    Grown(r"\z", (b"",)),
    Grown(r"\b", (b"", b" ")),
    Grown(r"\B", (b"", b"a")),
]
FLAGS = ("(", "(?:", "(?i:", "(?s:", "(?m:", "(?U:", "(?i-s:", "(?P<name>")
QUANTIFIERS = (
    ("*", (0, 1, 3)),
    ("+", (1, 2)),
    ("?", (0, 1)),
    ("*?", (0, 2)),
    ("+?", (1, 2)),
    ("??", (0, 1)),
    ("{2}", (2, 1, 3)),
    ("{0,2}", (0, 2, 3)),
    ("{2,}", (1, 2, 4)),
    ("{1,3}?", (1, 3, 4)),
    ("{0}", (0, 1)),
)


def _some(examples: list[bytes]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(examples))[:12]


def _in_a_row(parts: list[Grown]) -> Grown:
    examples = [b""]
    for part in parts:
        # Every example of the part at least once, next to some of what came before.
        width = max(len(examples), len(part.examples))
        examples = [
            examples[at % len(examples)] + part.examples[at % len(part.examples)]
            for at in range(width)
        ]
    return Grown("".join(part.text for part in parts), _some(examples))


def _alternatives(parts: list[Grown], flag: str) -> Grown:
    text = "|".join(part.text for part in parts)
    return Grown(f"{flag}{text})", _some([each for part in parts for each in part.examples]))


def _repeated(part: Grown, quantifier: tuple[str, tuple[int, ...]]) -> Grown:
    sign, counts = quantifier
    return Grown(
        f"(?:{part.text}){sign}", _some([each * n for each in part.examples for n in counts])
    )


grown = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        st.builds(_in_a_row, st.lists(inner, min_size=1, max_size=4)),
        st.builds(_alternatives, st.lists(inner, min_size=1, max_size=3), st.sampled_from(FLAGS)),
        st.builds(_repeated, inner, st.sampled_from(QUANTIFIERS)),
    ),
    max_leaves=8,
)

# Bytes that no character is made of, and forms that are too long, too large, or half a pair.
BROKEN = (
    b"\xff",
    b"\xc3",
    b"\x80",
    b"\xc0\xaf",
    b"\xe0\x80\x80",
    b"\xe2\x84",
    b"\xed\xa0\x80",
    b"\xf0\x80\x80\x80",
    b"\xf4\xbf\x80\x80",
    b"\xf5\x80\x80\x80",
)
CHARACTERS = tuple(each.encode() for each in "abckKsSAZ019_-/. \n\tāéÉſσςΣ日\u212a٠\U0001f600")

values = st.lists(st.one_of(st.sampled_from(CHARACTERS), st.sampled_from(BROKEN)), max_size=6).map(
    b"".join
)


def near(examples: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """One of the examples, or one with something put in, left out, or in another case."""
    one = st.sampled_from(examples)
    return st.one_of(
        one,
        one.map(bytes.swapcase),
        st.builds(
            lambda value, at, new: value[:at] + new + value[at:], one, st.integers(0, 8), values
        ),
        st.builds(lambda value, at: value[:at] + value[at + 1 :], one, st.integers(0, 8)),
        values,
    )


TOKENS = (
    *"abksé0_-/.*+?|(){}^$]σ",
    *("(?:", "(?i)", "(?s)", "(?m)", "(?U)", "(?-i)", "(?i:", "(?im-s:", "(?P<n>", "(?<n>"),
    *("[^a]", "[^/]+", "[a-c]", r"[^\n]", "[[:alpha:]]", "[[:^digit:]k]", "[]a]", "[^]a]", "[a-]"),
    *("[--/]", r"[\]]", "[é-ü]", r"[^\pL]", r"[\D\d]", r"[^\x00-\x{10ffff}]", "[", "[:alpha:]"),
    *(r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\pL", r"\PL", r"\p{Greek}", r"\p{^Lu}", r"\pN"),
    *(
        r"\b",
        r"\B",
        r"\A",
        r"\z",
        r"\Z",
        r"\E",
        r"\Q",
        r"\Qa.b\E",
        r"\x41",
        r"\x{17f}",
        r"\x{d800}",
    ),
    *("*?", "{2}", "{0,2}", "{1,}", "{,3}", "{0}", "{3,2}", "{02}", r"\.", r"\-", r"\07", r"\8"),
    *(r"\t", r"\_", r"\é", "\\", "(?", "(?P=n)", r"\p{Nope}", r"\p{any}", r"\p{Any}"),
)
soup = st.lists(st.sampled_from(TOKENS), max_size=7).map("".join)
