"""The automata's tables: how large they are, that they are sound, and that they are the same."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from l7proxy.compiler.head_actions import NOTHING
from l7proxy.compiler.head_automaton import Automaton, Entry, HeadTable, Pause, at
from l7proxy.compiler.head_request import request_grammar
from l7proxy.compiler.head_response import response_grammar
from l7proxy.reasons import Reason

WATCHED = tuple(b"x-watched-%d" % number for number in range(8))
TABLES = {
    "request": request_grammar(()).table,
    "request that watches 8 headers": request_grammar(WATCHED).table,
    "request that watches special headers": request_grammar(
        (b"connection", b"content-length", b"expect", b"transfer-encoding", b"upgrade")
    ).table,
    "response": response_grammar().table,
}
each_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())


def digest(table: HeadTable) -> str:
    text = repr((table.stride, table.words, table.stops, sorted(table.entries.values())))
    return hashlib.sha256(text.encode() + table.classes + table.transitions).hexdigest()


@each_table
def test_every_entry_stays_in_the_table(table: HeadTable) -> None:
    size, last = table.states * table.stride, table.stride - 1
    assert len(table.rows) == size <= 1 << 16
    assert max(table.classes) == last - 1
    for start in range(0, size, table.stride):
        assert all(
            target % table.stride == 0 and target < size
            for target in table.rows[start : start + last]
        )
        assert table.rows[start + last] < len(table.words)


@each_table
def test_stops_do_nothing_and_are_never_left(table: HeadTable) -> None:
    last = table.stride - 1
    for number, stop in enumerate(table.stops):
        start = number * table.stride
        assert table.stop_at(start) is stop
        assert table.words[table.rows[start + last]] == NOTHING
        assert set(table.rows[start : start + last]) == {start}
    assert all(row >= table.first_running for row in table.entries.values())
    assert table.stop_at(table.first_running) is None


@each_table
def test_acting_states_come_last(table: HeadTable) -> None:
    starts = range(table.first_running, table.states * table.stride, table.stride)
    for start in starts:
        acts = table.words[table.rows[start + table.stride - 1]] != NOTHING
        assert acts is (start >= table.first_acting)


@pytest.mark.parametrize(
    ("name", "states", "table_bytes"),
    [
        ("request", 510, 73_000),
        ("request that watches 8 headers", 570, 82_000),
        ("request that watches special headers", 540, 78_000),
        ("response", 250, 24_000),
    ],
)
def test_sizes(name: str, states: int, table_bytes: int) -> None:
    table = TABLES[name]
    print(
        f"{name}: {table.states} states, {table.stride - 1} classes, {len(table.words)} words,"
        f" {table.table_bytes} bytes"
    )
    assert table.states <= states
    assert table.table_bytes <= table_bytes
    assert len(table.words) <= 128


SCRIPT = """
from l7proxy.compiler.head_response import response_grammar
from tests.compiler.test_head_table import TABLES, digest
print(*(digest(table) for table in TABLES.values()))
"""


def test_the_same_grammar_gives_the_same_bytes() -> None:
    seen = set()
    for seed in ("1", "2"):
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(result.stdout)
    assert seen == {" ".join(map(digest, TABLES.values())) + "\n"}


def test_a_name_that_was_never_made_or_made_twice() -> None:
    automaton = Automaton((Pause.HEAD_END, Reason.BAD_TARGET))
    automaton.state("start", at(Pause.HEAD_END))
    automaton.on("start", b"x", "nowhere")
    with pytest.raises(KeyError, match="nowhere"):
        automaton.freeze({Entry.MESSAGE: "start"})
    with pytest.raises(ValueError, match="two states are named start"):
        automaton.state("start", "start")
