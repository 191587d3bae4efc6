"""Walking a head's automaton over bytes: the loop that the kernel has, byte for byte.

Everything that is kept from one byte to the next is a number of fixed size. A byte takes one of
two paths: most find the next state, and that is all; others carry out a word, all of them every
part of it, because a verifier follows every branch of a loop anew for each byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from l7proxy.compiler.dfa import Dfa
from l7proxy.compiler.head_actions import (
    COMMIT,
    COUNTERS,
    DIGIT,
    FACTOR_BITS,
    FACTOR_SHIFT,
    FEED,
    FLAG_BITS,
    FLAG_SHIFT,
    LANE,
    MARK_BITS,
    MARK_SHIFT,
    RESET,
    SLOT_BITS,
    SLOT_SHIFT,
    Count,
    Slot,
)
from l7proxy.compiler.head_automaton import Entry, HeadTable

_WORD = (1 << 64) - 1


class FieldBank:
    """The tables that read the fields, by slot; a slot without one has a table of one state."""

    def __init__(self, tables: dict[int, Dfa]) -> None:
        self.start = [0] * (SLOT_BITS + 1)
        self._classes: list[bytes] = [bytes(256)] * (SLOT_BITS + 1)
        self._widths = [1] * (SLOT_BITS + 1)
        self._rows: list[Sequence[int]] = [(0,)] * (SLOT_BITS + 1)
        for slot, dfa in tables.items():
            self.start[slot] = dfa.start
            self._classes[slot] = dfa.classes
            self._widths[slot] = dfa.width
            self._rows[slot] = memoryview(dfa.transitions).cast("H")

    def next(self, slot: int, state: int, byte: int) -> int:
        return self._rows[slot][state * self._widths[slot] + self._classes[slot][byte]]


@dataclass(slots=True)
class WalkState:
    """What is kept of a message between its bytes. Sizes in bits are those the kernel gives.

    row (16): the state, by where its row begins. number (64): Content-Length, a chunk's size or a
    status. flags, twice (64): bit 0 means nothing. counts (64): four lanes. reading (16): the
    state of the table that reads the current field. kept (16 each): for each slot the state where
    its value may end. marks (16 each): offsets from the message's first byte. offset (16).
    """

    row: int = 0
    number: int = 0
    flags: int = 0
    twice: int = 0
    counts: int = 0
    reading: int = 0
    offset: int = 0
    kept: list[int] = field(default_factory=lambda: [0] * (SLOT_BITS + 1))
    marks: list[int] = field(default_factory=lambda: [0] * (MARK_BITS + 1))

    def begin(self, table: HeadTable, bank: FieldBank) -> None:
        """Before the first byte of a message."""
        self.enter(table.entries[Entry.MESSAGE])
        self.offset = 0
        self.reading = bank.start[Slot.METHOD_AND_PATH]
        self.kept[:] = bank.start
        self.marks[:] = [0] * len(self.marks)

    def enter(self, row: int) -> None:
        """Before lines of which nothing is known yet."""
        self.row = row
        self.number = self.flags = self.twice = self.counts = 0

    def has(self, flag: int) -> bool:
        return bool(self.flags >> flag & 1)

    def repeats(self, flag: int) -> bool:
        return bool(self.twice >> flag & 1)

    def count(self, counter: Count) -> int:
        return self.counts >> counter & LANE


def walk(
    table: HeadTable, bank: FieldBank, state: WalkState, data: bytes, start: int, end: int
) -> int:
    """Walk over ``data[start:end]``, at most as far as a stop; returns where it ended."""
    classes, rows, words = table.classes, table.rows, table.words
    last, first_running, first_acting = table.stride - 1, table.first_running, table.first_acting
    row, number, flags, twice = state.row, state.number, state.flags, state.twice
    counts, reading = state.counts, state.reading
    base = state.offset - start
    kept, marks = state.kept, state.marks
    at = start
    while at < end:
        byte = data[at]
        at += 1
        row = rows[row + classes[byte]]
        if row < first_acting:
            if row < first_running:
                break
            continue
        word = words[rows[row + last]]
        bit = 1 << (word >> FLAG_SHIFT & FLAG_BITS)
        twice |= flags & bit
        flags |= bit
        counts += word & COUNTERS
        digit = (byte & 15) + 9 * (byte >> 6)
        number = number * (word >> FACTOR_SHIFT & FACTOR_BITS) + digit * (word >> DIGIT & 1) & _WORD
        slot = word >> SLOT_SHIFT & SLOT_BITS
        reading ^= (reading ^ bank.start[slot]) & -(word >> RESET & 1)
        fed = -(word >> FEED & 1)
        reading ^= (reading ^ bank.next(slot, reading & fed, byte)) & fed
        kept[slot & -(word >> COMMIT & 1)] = reading
        marks[word >> MARK_SHIFT & MARK_BITS] = base + at - 1 & LANE
    state.row, state.number, state.flags, state.twice = row, number, flags, twice
    state.counts, state.reading, state.offset = counts, reading, base + at & LANE
    return at
