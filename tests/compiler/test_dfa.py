"""Tables: many patterns at once, as small as can be, the same every time, and never too large."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from itertools import combinations, permutations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from l7proxy.compiler.dfa import DEAD, Dfa, compile_patterns
from l7proxy.compiler.errors import Bounds, TooLarge
from l7proxy.compiler.minimise import equivalent
from tests.compiler.support import Grown, grown, near, reference

SMALL = Bounds(states=2048, steps=100_000)


def table_of(patterns: list[str]) -> Dfa:
    try:
        return compile_patterns(patterns, SMALL)
    except TooLarge:
        assume(False)
        raise


@settings(max_examples=80)
@given(st.lists(grown, min_size=1, max_size=5), st.data())
def test_one_table_tells_all_patterns_apart(patterns: list[Grown], data: st.DataObject) -> None:
    expected = [reference(each.text) for each in patterns]
    assume(None not in expected)
    table = table_of([each.text for each in patterns])
    examples = tuple(each for pattern in patterns for each in pattern.examples)
    for value in (*examples, *data.draw(st.lists(near(examples), max_size=8))):
        bits = sum(1 << at for at, each in enumerate(expected) if each and each.fullmatch(value))
        assert table.match(value) == bits, value


@settings(max_examples=50)
@given(st.lists(grown, min_size=1, max_size=3))
def test_no_two_states_mean_the_same(patterns: list[Grown]) -> None:
    """By marking pairs of states that differ until no more do: slow, and nothing to get wrong."""
    assume(all(reference(each.text) for each in patterns))
    table = table_of([each.text for each in patterns])
    assume(table.states <= 40)
    differ = {
        pair
        for pair in combinations(range(table.states), 2)
        if table.accepted(pair[0]) != table.accepted(pair[1])
    }
    bytes_of_classes = [bytes((table.classes.index(each),)) for each in range(table.width)]
    grew = True
    while grew:
        grew = False
        for pair in combinations(range(table.states), 2):
            if pair in differ:
                continue
            for byte in bytes_of_classes:
                into = sorted(table.walk(byte, state) for state in pair)
                if (into[0], into[1]) in differ:
                    differ.add(pair)
                    grew = True
                    break
    assert len(differ) == table.states * (table.states - 1) // 2


def test_no_two_classes_of_bytes_mean_the_same() -> None:
    table = compile_patterns(["[a-f]x|[d-k]x|z"])
    columns = {
        tuple(table.walk(bytes((table.classes.index(each),)), at) for at in range(table.states))
        for each in range(table.width)
    }
    assert len(columns) == table.width == 4


def test_states_that_lead_to_the_same_are_one() -> None:
    # 0 <-> 1 and 2 <-> 3 do the same; 4 leads into them and is told apart by its mark.
    blocks = equivalent([[1], [0], [3], [2], [0]], [0, 1, 0, 1, 2])
    assert blocks[0] == blocks[2] != blocks[1] == blocks[3]
    assert len(set(blocks)) == 3


PATTERNS = ("/v1/users/[^/]+", "/v1/(a|b|c)(/.*)?", "(?i)/login", "/v[0-9]{1,3}", ".*")


def test_the_order_of_the_patterns_moves_only_their_bits() -> None:
    tables = [compile_patterns(order) for order in permutations(PATTERNS)]
    assert len({(each.classes, each.transitions, each.accept) for each in tables}) == 1
    assert len({each.accepts for each in tables}) == len(tables)


def test_the_same_patterns_give_the_same_bytes_in_every_process() -> None:
    script = (
        "import hashlib; from l7proxy.compiler.dfa import compile_patterns\n"
        f"t = compile_patterns({PATTERNS!r})\n"
        "print(hashlib.sha256(repr((t.classes, t.transitions, t.accept, t.accepts, t.start))"
        ".encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(digests) == 1


def test_a_table_survives_pickling() -> None:
    table = compile_patterns(PATTERNS)
    table.match(b"/v1/a")
    again = pickle.loads(pickle.dumps(table))
    assert again == table
    assert again.match(b"/v1/a") == table.match(b"/v1/a") == 0b10010


def test_what_nothing_leads_out_of_is_dead() -> None:
    table = compile_patterns(["/a"])
    assert table.walk(b"/b") == table.walk(b"anything", DEAD) == DEAD
    assert compile_patterns(["a$b"]).start == DEAD
    assert compile_patterns([]).match(b"") == 0


ENDLESS = (
    ("(a|b)*a(a|b){20}",),
    ("(?:.*a.{15}){3}",),
    (r"\pL{500}",),
    (r"(\pL|\pN){1000}",),
    ("(a?){500}a{500}",),
    (r"(\b|\B|a){1000}",),
    ("(x|y{0,1000}).*z.{0,300}",),
    tuple(f".*w{number}.*" for number in range(100)),
)


@pytest.mark.parametrize("patterns", ENDLESS, ids=lambda patterns: patterns[0])
def test_what_would_grow_without_end_is_given_up(patterns: tuple[str, ...]) -> None:
    with pytest.raises(TooLarge) as caught:
        compile_patterns(patterns)
    assert caught.value.states <= 100_001


def test_states_are_counted_while_they_are_made() -> None:
    with pytest.raises(TooLarge) as caught:
        compile_patterns(["(a|b)*a(a|b){20}"], Bounds(states=100))
    assert caught.value.states == 201
    with pytest.raises(TooLarge) as caught:
        compile_patterns(["(a|b)*a(a|b){20}"], Bounds(table_bytes=600))
    assert caught.value.states == 201


def test_giving_up_comes_before_the_memory_is_gone() -> None:
    """In a process of its own, which tells its largest size; the one that it inherits from a large
    parent is forgotten first (proc(5), clear_refs)."""
    script = (
        "import pathlib, re\n"
        "from l7proxy.compiler.dfa import compile_patterns\n"
        "from l7proxy.compiler.errors import TooLarge\n"
        "pathlib.Path('/proc/self/clear_refs').write_text('5')\n"
        f"for patterns in {ENDLESS[:3]!r}:\n"
        "    try: compile_patterns(patterns)\n"
        "    except TooLarge: pass\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', status)[1])"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert int(ended.stdout) * 1024 < 300 << 20


def test_a_bound_holds_for_the_finished_table() -> None:
    needed = compile_patterns(["a{20}"])
    assert compile_patterns(["a{20}"], Bounds(states=needed.states)) == needed
    with pytest.raises(TooLarge) as caught:
        compile_patterns(["a{20}"], Bounds(states=needed.states - 1))
    assert caught.value.states == needed.states
    with pytest.raises(TooLarge):
        compile_patterns(["a{20}"], Bounds(table_bytes=len(needed.transitions) - 1))
