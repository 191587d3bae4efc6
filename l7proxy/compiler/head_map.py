"""The bytes and names by which a program in C walks a head's table.

    struct head_table {
        __u8 classes[256];
        __u16 rows[65536 + 256];   // a row's place and a class: in bounds, whatever was loaded
        __u64 words[128];
        __u32 last;                // of a row: the place of the word's index
        __u32 first_running;       // below: a stop
        __u32 first_acting;        // from here on: a state with a word
        __u32 entries[4];          // by HEAD_ENTRY_*
    };

A stop's number, HEAD_REQUEST_STOP_* or HEAD_RESPONSE_STOP_*, is its row divided by ``last + 1``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import Enum

from l7proxy.compiler import head_request, head_response
from l7proxy.compiler.head_actions import Count, Flag, Mark, Slot
from l7proxy.compiler.head_automaton import Entry, HeadTable, Stop

ROW_ENTRIES = (1 << 16) + 256
WORD_ENTRIES = 128
_TAIL = struct.Struct("=7I4x")  # the words make the structure a multiple of eight bytes


def map_value(table: HeadTable) -> bytes:
    """``table`` as a ``struct head_table``.

    Raises ValueError where it does not fit.
    """
    if len(table.words) > WORD_ENTRIES or len(table.rows) > 1 << 16:
        raise ValueError(f"a head table of {table.states} states and {len(table.words)} words")
    words = (*table.words, *[0] * (WORD_ENTRIES - len(table.words)))
    return b"".join(
        (
            table.classes,
            table.transitions.ljust(2 * ROW_ENTRIES, b"\0"),
            struct.pack(f"={WORD_ENTRIES}Q", *words),
            _TAIL.pack(
                table.stride - 1,
                table.first_running,
                table.first_acting,
                *(table.entries[entry] for entry in Entry),
            ),
        )
    )


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
