"""Every table matches exactly the values that RE2 matches as a whole."""

# Letters that look like others are what these patterns and values are about.
# ruff: noqa: RUF001

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from l7proxy.compiler.dfa import compile_patterns
from l7proxy.compiler.errors import Bounds, TooLarge, Unsupported
from tests.compiler.support import BROKEN, Grown, grown, near, reference, soup, values

SMALL = Bounds(states=4096, steps=100_000)


def agree(pattern: str, value: bytes) -> None:
    expected = reference(pattern)
    assert expected is not None
    assert compile_patterns([pattern]).match(value) == (expected.fullmatch(value) is not None)


@settings(max_examples=200)
@given(grown, st.data())
def test_a_grown_pattern_matches_what_re2_matches(pattern: Grown, data: st.DataObject) -> None:
    expected = reference(pattern.text)
    assume(expected is not None)
    try:
        table = compile_patterns([pattern.text], SMALL)
    except TooLarge:
        assume(False)
    for value in (*pattern.examples, *data.draw(st.lists(near(pattern.examples), max_size=12))):
        assert table.match(value) == (expected.fullmatch(value) is not None), value


@settings(max_examples=200)
@given(soup, st.lists(values, max_size=12))
def test_tokens_thrown_together_are_refused_or_mean_the_same(
    pattern: str, tried: list[bytes]
) -> None:
    expected = reference(pattern)
    try:
        table = compile_patterns([pattern], SMALL)
    except Unsupported:
        assert expected is None
        return
    assert expected is not None
    for value in tried:
        assert table.match(value) == (expected.fullmatch(value) is not None), value


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("^/users$", ["/users"], ["/users/", "x/users", "/users\n"]),
        ("/a|/b", ["/a", "/b"], ["/a|/b", "/ab"]),
        ("/a.*?", ["/a", "/a/b?c"], ["/", "/a\n"]),
        ("(?s)/a.*", ["/a\n"], []),
        ("(?m)a$\n^b", ["a\nb"], ["ab"]),
        ("a^b|c$d", [], ["ab", "cd", "a", ""]),
        ("(?:^a|b)+", ["a", "bb", "abb"], ["ba", "aa"]),
        ("(?:a$|b)+", ["a", "bb", "bba"], ["ab", "aa"]),
        ("(?m)(?:^a|b|\n)+", ["a", "b\na", "abb"], ["ba", "aa"]),
        ("(?m)(?:a$|b|\n)+", ["ba", "a\nb", "bb"], ["ab", "aa"]),
        (r"(?:\ba|b\b|-)+", ["a", "-a-b", "b"], ["ba", "-bb"]),
        (r"\b-", [], ["-"]),
        (r"-\b\n?", [], ["-", "-\n"]),
        (r"-\B\n?", ["-", "-\n"], []),
        (r"\bfoo\b.*", ["foo", "foo/"], ["foob", "foo_"]),
        (r"a\Bb", ["ab"], ["a b"]),
        ("(?i)Straße", ["straße", "STRAßE", "ſtraẞe"], ["strasse"]),
        ("(?i)k", ["k", "K", "\u212a"], ["c"]),
        (r"\d{3}", ["123"], ["12", "1234", "٠٠٠"]),
        ("[[:word:]]+", ["a_1"], ["é"]),
        (r"\p{Greek}+", ["αβγ"], ["abc"]),
        (r"(?i)\W", ["é"], ["ſ", "\u212a", "s"]),
        ("a{0,2}b{2,}", ["bb", "aabbb"], ["aaabb", "ab"]),
        ("x{1000}", ["x" * 1000], ["x" * 999, "x" * 1001]),
        (r"\Q.*\E", [".*"], ["ab"]),
        ("[]a]", ["]", "a"], ["a]", "b"]),
        ("[^]a]", ["b", "^"], ["]", "a"]),
        ("[a-][--/]", ["a.", "--"], ["b.", "a0"]),
        ("[[:a]", ["[", ":", "a"], ["b"]),
        ("[[:]]", ["[]", ":]"], ["[", ":"]),
        ("a{,2}{", ["a{,2}{"], ["a", "aa"]),
        ("(?i:a)b(?s:.)(?i)c", ["Ab\nC", "abxc"], ["aBxc"]),
        ("", [""], ["a"]),
    ],
)
def test_known_patterns(pattern: str, matching: list[str], other: list[str]) -> None:
    table = compile_patterns([pattern])
    for value in matching + other:
        agree(pattern, value.encode())
        assert table.match(value.encode()) == (value in matching), value


@pytest.mark.parametrize(
    "pattern", [".", "[^a]", r"\pL", r"\PL", r"[\x{81}-\x{10ffff}]", "é", ".*"]
)
@pytest.mark.parametrize("value", BROKEN)
def test_bytes_that_are_no_characters(pattern: str, value: bytes) -> None:
    agree(pattern, value)
    agree(pattern, b"a" + value)


def test_a_surrogate_is_read_as_re2_reads_it() -> None:
    agree(r"\x{d800}", "\ud800".encode("utf-8", "surrogatepass"))
    agree(r"[\x{d7ff}-\x{e000}]", "\ud900".encode("utf-8", "surrogatepass"))
