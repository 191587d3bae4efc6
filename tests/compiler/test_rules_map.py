"""Rules as the bytes of a map's value, read as a program in C does, decide as their tables do."""

from __future__ import annotations

import dataclasses
import time
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l7proxy.compiler.admission import compile_admission
from l7proxy.compiler.errors import TooLarge
from l7proxy.compiler.execute import decide_tables, satisfied
from l7proxy.compiler.head_actions import Slot
from l7proxy.compiler.rules_map import SizeClass, bit_order, map_value
from l7proxy.compiler.tables import Tables, slots, watched
from l7proxy.policy.model import Direction, HeaderRule, HttpRule, RuleAction
from l7proxy.policy.verdict import Action, Admission, HttpLayer
from l7proxy.reasons import Reason
from tests.compiler.structs import defines, structure
from tests.compiler.test_execute import admissions, of, requests
from tests.policy.support import Request, request

structure = cache(structure)


def read(tables: Tables, grammar: int = 7) -> Any:
    size, value = map_value(tables, grammar)
    return structure(f"rules_{size.name.lower()}").from_buffer_copy(value)


def value_of(slot: int, tables: Tables, asked: Request) -> bytes | None:
    """What the head automaton feeds a slot."""
    if slot == Slot.METHOD_AND_PATH:
        return asked.method + b" " + asked.path
    return (
        asked.host
        if slot == Slot.HOST
        else asked.header(watched(tables.fields)[slot - Slot.HEADER])
    )


def walked(rules: Any, slot: int, value: bytes) -> int:
    """The state of a slot's table behind ``value``, as it is kept."""
    state = rules.start[slot]
    for byte in value:
        state = rules.cells[state + rules.classes[slot][byte]]
    return int(state)


def decided(rules: Any, tables: Tables, asked: Request) -> tuple[bool, list[int | None]]:
    """As the kernel decides: what it does, and by layer the bit that decided."""
    words = rules.layer_words[rules.layers]
    found = [0xFFFFFFFF] * words
    for field in range(rules.fields):
        slot = rules.slot[field]
        assert slot != Slot.NONE, "what is kept of slot 0 means nothing"
        value = value_of(slot, tables, asked)
        if value is None:
            place = rules.absent[field]
        else:
            place = rules.cells[walked(rules, slot, value) + rules.last[slot]]
        for word in range(words):
            found[word] &= rules.cells[place + word]
    allowed, bits = True, list[int | None]()
    for layer in range(rules.layers):
        bit = None
        for word in range(rules.layer_words[layer], rules.layer_words[layer + 1]):
            if found[word]:
                bit = 32 * word + (found[word] & -found[word]).bit_length() - 1
                break
        bits.append(bit)
        if bit is None:
            allowed &= bool(rules.otherwise[layer])
        else:
            allowed &= not rules.cells[rules.blocks + bit // 32] >> bit % 32 & 1
    return allowed, bits


def assert_same(admission: Admission, asked: list[Request]) -> None:
    tables = compile_admission(admission)
    rules = read(tables)
    order = bit_order(tables)
    for each in asked:
        verdict = decide_tables(tables, each)
        allowed, bits = decided(rules, tables, each)
        assert allowed == (verdict.action is Action.ALLOW)
        matched = satisfied(tables, each)
        for layer, bit in zip(tables.layers, bits, strict=True):
            hit = matched & layer.rules
            decisive = hit & layer.blocks or hit
            lowest = (decisive & -decisive).bit_length() - 1
            assert (order[bit] if bit is not None else -1) == lowest


@settings(max_examples=150, deadline=None)
@given(admissions, st.lists(requests, min_size=1, max_size=8))
def test_the_bytes_decide_as_the_tables_do(admission: Admission, asked: list[Request]) -> None:
    assert_same(admission, asked)


def rule(number: int, **asked: Any) -> HttpRule:
    action = RuleAction.BLOCK if number % 3 == 1 else RuleAction.ALLOW
    return HttpRule("p", str(number), action, **asked)


@pytest.mark.parametrize("counts", [(31,), (32,), (33,), (64, 1), (1, 64), (0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize("otherwise", [{}, {"default_allow": True}, {"moot": True}])
def test_layers_of_many_rules(counts: tuple[int, ...], otherwise: dict[str, bool]) -> None:
    directions = (Direction.EGRESS, Direction.INGRESS)
    layers = tuple(
        HttpLayer(
            direction,
            tuple(
                rule(n, method=("GET", "POST")[n % 2], path=f"/{(n * 7) % 13}(/.*)?")
                for n in range(count)
            ),
            **otherwise,
        )
        for direction, count in zip(directions, counts, strict=False)
    )
    asked = [request(f"{m} /{n}") for m in ("GET", "POST", "PUT") for n in range(14)]
    assert_same(Admission(True, Reason.HTTP_RULES, layers=layers), asked)


@pytest.mark.parametrize("count", [0, 1, 33])
@pytest.mark.parametrize("otherwise", [{}, {"default_allow": True}])
def test_rules_that_ask_of_nothing(count: int, otherwise: dict[str, bool]) -> None:
    rules = tuple(HttpRule("p", str(n)) for n in range(count))
    assert_same(of(*rules, **otherwise), [request("GET /")])


def test_a_request_without_host() -> None:
    asked = [Request(host=b""), Request(host=b"a")]
    for pattern in ("a?", "a", ".*"):
        admission = of(HttpRule("p", "0", host=pattern), HttpRule("p", "1", RuleAction.BLOCK, "X"))
        assert_same(admission, asked)
        rules = read(compile_admission(admission))
        host = list(rules.slot).index(Slot.HOST)
        untouched = rules.start[Slot.HOST]
        assert rules.absent[host] == rules.cells[untouched + rules.last[Slot.HOST]]


def test_headers_have_slots_in_the_order_of_their_names() -> None:
    names = (b"x-b", b"x-a", b"x-c")
    admission = of(*(HttpRule("p", "0", headers=(HeaderRule(name, b"v"),)) for name in names))
    tables = compile_admission(admission)
    assert watched(tables.fields) == (b"x-a", b"x-b", b"x-c")
    assert slots(tables.fields) == (3, 4, 5)
    header = dict.fromkeys(names[:2], b"v")
    assert_same(admission, [Request(headers=header), Request(headers={b"x-c": b"w"})])


def test_a_slot_without_a_table_stays_where_it_is() -> None:
    rules = read(compile_admission(of(HttpRule("p", "0", path="/a"))))
    unused = set(range(16)) - {Slot.METHOD_AND_PATH}
    assert {walked(rules, slot, bytes(range(256))) for slot in unused} == {0}
    assert {(rules.start[slot], rules.last[slot]) for slot in unused} == {(0, 1)}


def test_what_stands_at_the_head() -> None:
    tables = compile_admission(of(HttpRule("p", "0", path="/a")))
    rules = read(tables, grammar=12)
    assert (rules.grammar, rules.fields, rules.layers) == (12, 1, 1)
    assert rules.id == int(tables.digest[:16], 16) != 0
    other = read(compile_admission(of(HttpRule("p", "0", path="/b"))))
    assert other.id not in (0, rules.id)


def many(count: int, width: int = 40) -> Tables:
    rules = (HttpRule("p", str(n), path=f"/{n:0{width}}/{n * 7}") for n in range(count))
    return compile_admission(of(*rules))


def test_the_smallest_structure_that_holds_them() -> None:
    for count, size in ((2, SizeClass.SMALL), (400, SizeClass.LARGE), (800, SizeClass.LARGE)):
        found, value = map_value(many(count), 0)
        assert found is size
        name = f"RULES_{size.name}"
        assert (size.cells, len(value)) == (defines()[name], size.value_bytes)
        layout = structure(f"rules_{size.name.lower()}")
        assert layout.from_buffer_copy(value).cells[size.cells - 1] == 0


def test_rules_that_no_structure_holds() -> None:
    tables = many(800)
    with pytest.raises(TooLarge, match=r"states, [\d,]+ bytes: more than") as caught:
        map_value(dataclasses.replace(tables, fields=tables.fields * 20), 0)
    assert caught.value.table_bytes > 4 * SizeClass.LARGE.cells
    assert map_value(compile_admission(of(*many_simple(2048))), 0)
    with pytest.raises(TooLarge):
        map_value(compile_admission(of(*many_simple(2049))), 0)


def many_simple(count: int) -> list[HttpRule]:
    return [HttpRule("p", str(n), path="/a") for n in range(count)]


@pytest.mark.parametrize(
    "admission", [Admission(True, Reason.NO_POLICY), Admission(False, Reason.L4_DENY_RULE)]
)
def test_what_is_settled_has_no_structure(admission: Admission) -> None:
    with pytest.raises(ValueError, match="decide no request"):
        map_value(compile_admission(admission), 0)


def test_a_thousand_rules_are_laid_out_quickly() -> None:
    """0.05 s here; the bound is for slower machines."""
    rules = [rule(n, path=f"/svc{n % 50}/v[0-9]+/items{n}(/.*)?") for n in range(1000)]
    tables = compile_admission(of(*rules))
    start = time.perf_counter()
    map_value(tables, 0)
    assert time.perf_counter() - start < 0.3
