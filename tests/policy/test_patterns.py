"""Patterns: RE2 on bytes, whole values, and the shortcut for literals meaning the same."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from l7proxy.policy import patterns

PATTERNS = st.text(alphabet="ab/^$|.*?()", max_size=8)
VALUES = st.text(alphabet="ab/^$|.\n", max_size=6)


@given(PATTERNS, VALUES)
def test_every_answer_is_that_of_re2_on_the_whole_value(pattern, value):
    try:
        expected = re2.fullmatch(pattern, value) is not None
    except re2.error:
        with pytest.raises(ValueError, match="not a regular expression that RE2 accepts"):
            patterns.check(pattern)
        return
    data = value.encode()
    assert patterns.matcher(pattern)(data) is expected
    # Asked again, from memory.
    assert patterns.matcher(pattern)(data) is expected


@pytest.mark.parametrize(
    ("pattern", "values"),
    [
        ("GET", (b"GET",)),
        ("^GET$", (b"GET",)),
        ("GET|HEAD", (b"GET", b"HEAD")),
        ("/ü", ("/ü".encode(),)),
        ("/a.b", None),
        ("^GET$|^HEAD$", None),
        (r"/a\$", None),
    ],
)
def test_literals_are_recognised(pattern, values):
    assert patterns.literals(pattern) == values


def test_wildcards_match_characters_not_bytes():
    one = patterns.matcher("/.")
    assert one("/ü".encode())
    assert not one(b"/\xff")


@pytest.mark.parametrize("pattern", ["(", "a**", r"(a)\1", "(?=a)", "(a{1000}){1000}", "\ud800"])
def test_what_re2_does_not_accept_is_a_value_error(pattern):
    with pytest.raises(ValueError, match=r"RE2 accepts|not valid Unicode"):
        patterns.check(pattern)
