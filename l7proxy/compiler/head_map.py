"""The bytes and names by which a program in C walks a head: struct grammar of bpf/tables.h.

A stop's number, HEAD_REQUEST_STOP_* or HEAD_RESPONSE_STOP_*, is its row divided by ``last + 1``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from enum import Enum

from l7proxy.compiler import head_request, head_response
from l7proxy.compiler.head_actions import SLOT_BITS, Count, Flag, Mark, Slot
from l7proxy.compiler.head_automaton import Entry, Grammar, HeadTable, Stop

ROW_ENTRIES = (1 << 16) + 256
WORD_ENTRIES = 128
_FIELD_SLOTS = SLOT_BITS + 1
_ID = struct.Struct("=Q")
_BODY = struct.Struct(f"={2 + WORD_ENTRIES}Q8I{_FIELD_SLOTS}s256s{2 * ROW_ENTRIES}s")
VALUE_BYTES = _ID.size + _BODY.size


def map_value(grammar: Grammar) -> bytes:
    """``grammar`` as a struct grammar; its ``id`` is made from all the rest, and never 0.

    Raises ValueError where it does not fit.
    """
    table = grammar.table
    if len(table.words) > WORD_ENTRIES or len(table.rows) > 1 << 16:
        raise ValueError(f"a head table of {table.states} states and {len(table.words)} words")
    flag_of = bytearray(_FIELD_SLOTS)
    flag_of[Slot.HEADER : Slot.HEADER + len(grammar.present)] = bytes(grammar.present)
    body = _BODY.pack(
        sum(1 << flag for flag in grammar.present),
        grammar.forbidden,
        *table.words,
        *[0] * (WORD_ENTRIES - len(table.words)),
        table.stride - 1,
        table.first_running,
        table.first_acting,
        *(table.entries[entry] for entry in Entry),
        _text(table),
        bytes(flag_of),
        table.classes,
        table.transitions,
    )
    digest = hashlib.sha256(body).digest()
    return _ID.pack(int.from_bytes(digest[:8], "big") or 1) + body


def _text(table: HeadTable) -> int:
    """The row of the state inside the value of a field that nobody looks at: it does nothing, and
    whatever is neither a control byte nor DEL leads back to it. 2**32 - 1 where there is none."""
    classes = {table.classes[byte] for byte in range(0x20, 0x100) if byte != 0x7F}
    rows = table.rows
    for row in range(table.first_running, table.first_acting, table.stride):
        if all(rows[row + each] == row for each in classes):
            return row
    return 0xFFFFFFFF


def c_defines() -> dict[str, int]:
    """Names for C: flags, counters (their lowest bit), marks, slots, entries and stops."""
    found: dict[str, int] = {}
    for kind in (Flag, Count, Mark, Slot):
        for member in kind:
            found[f"HEAD_{kind.__name__.upper()}_{member.name}"] = int(member)
    for number, entry in enumerate(Entry):
        found[f"HEAD_ENTRY_{entry.name}"] = number
    found |= _stops("REQUEST", head_request.STOPS)
    found |= _stops("RESPONSE", head_response.STOPS)
    return found


def _stops(side: str, stops: Iterable[Stop]) -> dict[str, int]:
    named: Iterable[tuple[int, Enum]] = enumerate(stops)
    return {f"HEAD_{side}_STOP_{stop.name}": number for number, stop in named}
