"""What is read, what is refused, and that the tree forgets what does not matter."""

# Letters that look like others are what these patterns and values are about.
# ruff: noqa: RUF001

from __future__ import annotations

import pytest

from l7proxy.compiler.charsets import ASCII_TOP
from l7proxy.compiler.errors import Unsupported
from l7proxy.compiler.nodes import (
    Alt,
    Assertion,
    Cat,
    Chars,
    Repeat,
    has_assertion,
    without_anchors,
)
from l7proxy.compiler.syntax import parse
from tests.compiler.support import reference


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"\C", "single bytes"),
        ("a**", "one quantifier after another"),
        ("a+?*", "one quantifier after another"),
        ("*a", "before a quantifier"),
        ("(|+)", "before a quantifier"),
        ("a{1001}", "repetition"),
        ("a{3,2}", "repetition"),
        ("((a{100}){100}){2}", "more than 1000"),
        ("(a", "not closed"),
        ("a)", "not open"),
        ("[a", "not closed"),
        ("[b-a]", "backwards"),
        ("[[:nope:]]", "class"),
        (r"\p{Nope}", "does not know"),
        (r"\pé", "class"),
        ("\\", "escape"),
        (r"\8", "escape"),
        (r"\x{110000}", "escape"),
        (r"\Z", "escape"),
        ("(?=a)", "group"),
        ("(?i", "group"),
        ("(?P<>a)", "group"),
        ("(?P<[[:alpha:]]nn<>a)", "group"),
        ("(?<a b>a)", "group"),
        ("(" * 101 + ")" * 101, "nested"),
    ],
)
def test_what_has_no_automaton_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        parse(pattern)
    supported_by_re2 = pattern == r"\C" or pattern.startswith("((((")
    assert (reference(pattern) is not None) == supported_by_re2


def test_groups_and_greed_leave_no_trace() -> None:
    assert parse("(?P<x>a)(?:b)c*?") == parse("abc*") == Cat(("ab", Repeat("c", 0, None)))
    for name in ("é", "ü_1", "ⅷ", "日本", "٣"):
        assert reference(f"(?P<{name}>a)") is not None
        assert parse(f"(?P<{name}>a)") == parse("a")
    assert parse("(?U)a+") == parse("a+")


def test_branches_become_flat_and_unique() -> None:
    assert parse("a|(b|a)|c") == Alt(("a", "b", "c"))
    assert parse("a|a") == "a"


def test_flags_end_with_their_group() -> None:
    assert parse("(?i:a)b") == parse("(?:(?i)a)b") == Cat((Chars(((65, 65), (97, 97))), "b"))


def test_only_the_part_within_the_values_is_kept() -> None:
    assert parse("[^a]", ASCII_TOP) == Chars(((0, 96), (98, 127)))
    assert parse("(?i)ſ", ASCII_TOP) == parse("(?i)s", ASCII_TOP)


@pytest.mark.parametrize("pattern", ["^/a$", r"\A/a\z", "(?m)^/a$", "(^/a$)", "^^/a$$"])
def test_anchors_at_the_ends_say_nothing(pattern: str) -> None:
    assert without_anchors(parse(pattern)) == "/a"


def test_anchors_elsewhere_stay() -> None:
    for pattern in ("a^b", "(^a|b)*", r"\ba", "a$b"):
        assert has_assertion(without_anchors(parse(pattern)))
    assert without_anchors(parse("^a|b$")) == Alt(("a", "b"))
    assert isinstance(parse("^"), Assertion)
