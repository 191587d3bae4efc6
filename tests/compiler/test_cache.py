"""Only what changed is compiled again."""

from __future__ import annotations

import pytest

from l7proxy.compiler.admission import compile_admission
from l7proxy.compiler.cache import DfaCache
from l7proxy.compiler.dfa import Dfa, compile_patterns
from l7proxy.compiler.errors import DEFAULT_BOUNDS, Bounds, TooLarge, Unsupported
from l7proxy.policy.model import Direction, HeaderRule, HttpRule
from l7proxy.policy.verdict import Admission, HttpLayer
from l7proxy.reasons import Reason


def of(*rules: HttpRule) -> Admission:
    return Admission(True, Reason.HTTP_RULES, layers=(HttpLayer(Direction.INGRESS, rules),))


class Maker:
    """Makes the table of one pattern, and counts how often."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.made = 0

    def __call__(self, bounds: Bounds) -> Dfa:
        self.made += 1
        return compile_patterns([self.pattern], bounds)


def test_changing_one_admission_leaves_the_tables_of_others_alone() -> None:
    cache = DfaCache()
    users, orders = of(HttpRule("u", "0", path="/u")), of(HttpRule("o", "0", path="/o"))
    before = compile_admission(users, cache=cache)
    compile_admission(orders, cache=cache)
    compile_admission(of(HttpRule("o", "0", path="/o/.*")), cache=cache)
    after = compile_admission(users, cache=cache)
    assert after.fields[0].dfa is before.fields[0].dfa
    assert after == before


def test_changing_one_field_leaves_the_tables_of_others_alone() -> None:
    cache = DfaCache()
    key = (HeaderRule(b"x-key", b"v"),)
    before = compile_admission(
        of(HttpRule("p", "0", path="/a", host="h", headers=key)), cache=cache
    )
    after = compile_admission(of(HttpRule("p", "0", path="/b", host="h", headers=key)), cache=cache)
    assert [one.dfa is two.dfa for one, two in zip(before.fields, after.fields, strict=True)] == [
        False,
        True,
        True,
    ]


def test_names_and_actions_need_no_new_tables() -> None:
    cache = DfaCache()
    one = compile_admission(of(HttpRule("p", "0", path="/a")), cache=cache)
    two = compile_admission(of(HttpRule("q", "1", path="/a")), cache=cache)
    assert one.fields[0].dfa is two.fields[0].dfa
    assert two.rules[0].policy == "q"


def test_the_longest_unused_table_goes_first() -> None:
    size = compile_patterns(["a"]).table_bytes
    cache = DfaCache(most_bytes=2 * size)
    one, two, three = Maker("a"), Maker("b"), Maker("c")
    for make in (one, two, one, three, one, two):
        cache.get(make.pattern, DEFAULT_BOUNDS, make)
    assert (one.made, two.made, three.made) == (1, 2, 1)
    assert len(cache) == 2
    assert cache.table_bytes == 2 * size


def test_a_table_larger_than_the_bound_is_kept_alone() -> None:
    cache = DfaCache(most_bytes=1)
    for pattern in "ab":
        cache.get(pattern, DEFAULT_BOUNDS, Maker(pattern))
    assert len(cache) == 1


@pytest.mark.parametrize(("pattern", "error"), [(r"\C", Unsupported), ("a{9}", TooLarge)])
def test_what_has_no_table_is_remembered_too(pattern: str, error: type[Exception]) -> None:
    cache = DfaCache()
    make = Maker(pattern)
    for _ in range(3):
        with pytest.raises(error):
            cache.get(pattern, Bounds(states=5), make)
    assert make.made == 1
    assert cache.table_bytes > 0


def test_other_bounds_ask_again() -> None:
    cache = DfaCache()
    make = Maker("a{9}")
    with pytest.raises(TooLarge):
        cache.get("a{9}", Bounds(states=5), make)
    assert cache.get("a{9}", DEFAULT_BOUNDS, make).match(b"a" * 9) == 1
