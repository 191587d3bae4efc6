"""A head's table as the bytes of a map's value, read back as a program in C reads them."""

from __future__ import annotations

import ctypes

import pytest

from l7proxy.compiler.head_automaton import Entry, HeadTable
from l7proxy.compiler.head_map import c_defines, map_value
from l7proxy.compiler.head_request import request_grammar
from l7proxy.compiler.head_response import response_grammar


class Layout(ctypes.Structure):
    """The structure of ``head_map``, laid out by the rules of C."""

    _fields_ = (
        ("classes", ctypes.c_uint8 * 256),
        ("rows", ctypes.c_uint16 * (65536 + 256)),
        ("words", ctypes.c_uint64 * 128),
        ("last", ctypes.c_uint32),
        ("first_running", ctypes.c_uint32),
        ("first_acting", ctypes.c_uint32),
        ("entries", ctypes.c_uint32 * 4),
    )


@pytest.mark.parametrize("table", [request_grammar(()).table, response_grammar().table])
def test_c_reads_the_table_back(table: HeadTable) -> None:
    value = map_value(table)
    assert len(value) == ctypes.sizeof(Layout)
    read = Layout.from_buffer_copy(value)
    assert bytes(read.classes) == table.classes
    assert list(read.rows)[: len(table.rows)] == list(table.rows)
    assert tuple(read.words)[: len(table.words)] == table.words
    assert (read.last, read.first_running) == (table.stride - 1, table.first_running)
    assert read.first_acting == table.first_acting
    assert tuple(read.entries) == tuple(table.entries[entry] for entry in Entry)


def test_a_table_that_does_not_fit() -> None:
    table = request_grammar(()).table
    words = tuple(range(129))
    large = HeadTable(
        table.classes, table.stride, table.transitions, words, table.stops, table.entries, 0
    )
    with pytest.raises(ValueError, match="129 words"):
        map_value(large)


def test_names_for_c() -> None:
    names = c_defines()
    assert names["HEAD_FLAG_HOST"] == 12
    assert names["HEAD_COUNT_DIGITS"] == 32
    assert names["HEAD_SLOT_HEADER"] == 3
    assert names["HEAD_ENTRY_MESSAGE"] == 0
    assert names["HEAD_REQUEST_STOP_HEAD_END"] == names["HEAD_RESPONSE_STOP_HEAD_END"] == 0
    assert names["HEAD_RESPONSE_STOP_UPSTREAM_NOT_HTTP"] == 3
