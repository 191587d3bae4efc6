"""A head's grammar as the bytes of a map's value, read back as a program in C reads them."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import pytest

from l7proxy.compiler.head_actions import Flag
from l7proxy.compiler.head_automaton import Entry, Grammar, HeadTable
from l7proxy.compiler.head_map import VALUE_BYTES, c_defines, map_value
from l7proxy.compiler.head_request import request_grammar
from l7proxy.compiler.head_response import response_grammar
from tests.compiler.structs import structure

Layout = structure("grammar")
GRAMMARS = [request_grammar(()), request_grammar((b"upgrade", b"x-key")), response_grammar()]


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_c_reads_the_grammar_back(grammar: Grammar) -> None:
    table = grammar.table
    value = map_value(grammar)
    assert len(value) == ctypes.sizeof(Layout) == VALUE_BYTES
    read = Layout.from_buffer_copy(value)
    assert bytes(read.classes) == table.classes
    assert list(read.rows)[: len(table.rows)] == list(table.rows)
    assert tuple(read.words)[: len(table.words)] == table.words
    assert (read.last, read.first_running) == (table.stride - 1, table.first_running)
    assert read.first_acting == table.first_acting
    assert tuple(read.entries) == tuple(table.entries[entry] for entry in Entry)
    assert read.present == sum(1 << flag for flag in grammar.present)
    assert read.forbidden == grammar.forbidden


def test_each_watched_header_has_its_flag() -> None:
    read = Layout.from_buffer_copy(map_value(request_grammar((b"upgrade", b"x-key"))))
    assert list(read.flag_of) == [0, 0, 0, Flag.UPGRADE, Flag.WATCHED + 1, *[0] * 11]
    assert read.present == 1 << Flag.UPGRADE | 1 << Flag.WATCHED + 1


def test_the_id_is_of_the_content() -> None:
    ids = {Layout.from_buffer_copy(map_value(grammar)).id for grammar in GRAMMARS}
    assert len(ids) == len(GRAMMARS)
    assert 0 not in ids
    assert map_value(GRAMMARS[0]) == map_value(request_grammar(()))


def test_a_table_that_does_not_fit() -> None:
    grammar = request_grammar(())
    table = grammar.table
    words = tuple(range(129))
    large = HeadTable(
        table.classes, table.stride, table.transitions, words, table.stops, table.entries, 0
    )
    with pytest.raises(ValueError, match="129 words"):
        map_value(replace(grammar, table=large))


def test_names_for_c() -> None:
    names = c_defines()
    assert names["HEAD_FLAG_HOST"] == Flag.HOST
    assert names["HEAD_COUNT_DIGITS"] == 32
    assert names["HEAD_SLOT_HEADER"] == 3
    assert names["HEAD_ENTRY_MESSAGE"] == 0
    assert names["HEAD_REQUEST_STOP_HEAD_END"] == names["HEAD_RESPONSE_STOP_HEAD_END"] == 0
    assert names["HEAD_RESPONSE_STOP_UPSTREAM_NOT_HTTP"] == 3
