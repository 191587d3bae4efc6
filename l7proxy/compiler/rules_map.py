"""The bytes by which the kernel decides: ``Tables`` as a struct rules_* of bpf/tables.h.

Everything but the numbers at its head lies in one array of 32-bit cells. A state is the place of
its row: a cell for each class of bytes with the place of the next state, and a last one with the
place of the set of rules that a value ending there satisfies. Rows of all fields share the array.

A set is a string of bits. They are not in the order of the rules: each layer begins with a cell of
its own, and in it the rules that block come first. So the lowest bit of a layer decides, and the
first cell that is not zero has it.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable
from enum import Enum
from operator import itemgetter

from l7proxy.compiler.errors import TooLarge
from l7proxy.compiler.head_actions import SLOT_BITS, Slot
from l7proxy.compiler.tables import Field, FieldTable, Tables, slots
from l7proxy.policy.verdict import Action

FIELD_SLOTS = SLOT_BITS + 1
SET_CELLS = 64
"""Of one set: 2,048 rules, some less where layers do not fill their last cells."""

_CELL_BITS = 32
_MOST_LAYERS = 2
_HEAD = struct.Struct(f"=Q10I{4 * FIELD_SLOTS}I")
_NO_TABLE = 0
"""The row of slots without a table: a state that every byte stays in, and that satisfies all."""


class SizeClass(Enum):
    """How many cells there are; ``number`` is how roads name the class."""

    number: int
    cells: int

    def __new__(cls, number: int, cells: int) -> SizeClass:
        member = object.__new__(cls)
        member._value_ = member.number = number
        member.cells = cells
        return member

    SMALL = 0, 1 << 15  # some hundred rules
    LARGE = 1, 1 << 20

    @property
    def value_bytes(self) -> int:
        """The size of the structure."""
        return _HEAD.size + FIELD_SLOTS * 256 + 4 * self.cells


def bit_order(tables: Tables) -> tuple[int, ...]:
    """The rule that each bit of a set stands for, -1 for bits that stand for none."""
    order: list[int] = []
    for layer in tables.layers:
        numbers = [number for number in range(len(tables.rules)) if layer.rules >> number & 1]
        order += sorted(numbers, key=lambda number: not layer.blocks >> number & 1)
        order += [-1] * (-len(order) % _CELL_BITS)
    return tuple(order)


def rules_id(tables: Tables) -> int:
    """What names the content in 64 bits, and is never 0."""
    return int(tables.digest[:16], 16) or 1


def size_class(tables: Tables) -> SizeClass:
    """The smallest structure that holds ``tables``. Raises TooLarge where none does."""
    rows = sum(each.dfa.states * (each.dfa.width + 1) for each in tables.fields)
    found = {_everything(tables), _blocks(tables)}
    for each in tables.fields:
        found |= {_absent(each), *each.dfa.accepts}
    set_cells = len(bit_order(tables)) // _CELL_BITS
    needed = 2 + rows + len(found) * set_cells
    size = next((size for size in SizeClass if needed <= size.cells), None)
    if size is None or set_cells > SET_CELLS:
        raise TooLarge(tables.states, 4 * needed)
    return size


def map_value(tables: Tables, grammar: int) -> tuple[SizeClass, bytes]:
    """``tables`` in the smallest structure that holds them.

    ``grammar`` is the number of the grammar for ``tables.watched(tables.fields)``. Raises TooLarge
    where no structure does, and ValueError for an admission that no rule has to be asked about.
    """
    if tables.settled is not None or not 0 < len(tables.layers) <= _MOST_LAYERS:
        raise ValueError("these tables decide no request")
    size = size_class(tables)
    return size, _Image(tables).packed(grammar).ljust(size.value_bytes, b"\0")


class _Image:
    """The structure under construction."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        order = bit_order(tables)
        self._set_cells = len(order) // _CELL_BITS
        self._permute = _permutation(order, len(tables.rules))
        self._sets: dict[int, int] = {}
        self.cells = array("I", [_NO_TABLE, 0])
        self._classes = [bytes(256)] * FIELD_SLOTS
        self._start = [_NO_TABLE] * FIELD_SLOTS
        self._last = [1] * FIELD_SLOTS
        self.cells[1] = self._set(_everything(tables))
        self._blocks = self._set(_blocks(tables))
        self._fields: list[tuple[int, int]] = []
        for slot, each in zip(slots(tables.fields), tables.fields, strict=True):
            self._fields.append((slot, self._set(_absent(each))))
            self._add(slot, each)
        if not self._fields:
            # Bits that stand for no rule are in no set, so one field takes them away. Where rules
            # ask of nothing, method and path are read by the row of slots without a table.
            self._fields.append((Slot.METHOD_AND_PATH, self.cells[1]))

    def _set(self, rules: int) -> int:
        """The place of a set of rules."""
        place = self._sets.get(rules)
        if place is None:
            place = self._sets[rules] = len(self.cells)
            bits = self._permute(rules).to_bytes(4 * self._set_cells, "little")
            cells = array("I", bits)
            if sys.byteorder == "big":
                cells.byteswap()
            self.cells.extend(cells)
        return place

    def _add(self, slot: int, table: FieldTable) -> None:
        dfa = table.dfa
        width, stride, states = dfa.width, dfa.width + 1, dfa.states
        sets = [self._set(rules) for rules in dfa.accepts]
        base = len(self.cells)
        places = range(base, base + states * stride, stride)
        transitions, accept = array("H", dfa.transitions), array("H", dfa.accept)
        rows = array("I", bytes(4 * states * stride))
        for number in range(width):  # a column at a time, so that no cell is touched by itself
            rows[number::stride] = array("I", map(places.__getitem__, transitions[number::width]))
        rows[width::stride] = array("I", map(sets.__getitem__, accept))
        self.cells.extend(rows)
        self._classes[slot] = dfa.classes
        self._start[slot] = places[dfa.start]
        self._last[slot] = width

    def packed(self, grammar: int) -> bytes:
        """The structure up to its last used cell."""
        tables = self._tables
        ends, used = [0], 0
        for layer in tables.layers:
            used += -(-layer.rules.bit_count() // _CELL_BITS)
            ends.append(used)
        otherwise = [int(layer.otherwise.action is Action.ALLOW) for layer in tables.layers]
        head = _HEAD.pack(
            rules_id(tables),
            grammar,
            len(self._fields),
            len(tables.layers),
            *_filled(ends, _MOST_LAYERS + 1),
            *_filled(otherwise, _MOST_LAYERS),
            self._blocks,
            0,
            *self._start,
            *self._last,
            *_filled([slot for slot, _ in self._fields], FIELD_SLOTS),
            *_filled([absent for _, absent in self._fields], FIELD_SLOTS),
        )
        return b"".join((head, *self._classes, self.cells.tobytes()))


def _everything(tables: Tables) -> int:
    return (1 << len(tables.rules)) - 1


def _blocks(tables: Tables) -> int:
    return sum(layer.blocks for layer in tables.layers)


def _absent(table: FieldTable) -> int:
    """Without a Host the host is empty; method and path are always there."""
    return table.absent if table.field is Field.HEADER else table.dfa.accepted(table.dfa.start)


def _filled(numbers: list[int], length: int) -> list[int]:
    return numbers + [0] * (length - len(numbers))


def _permutation(order: tuple[int, ...], rules: int) -> Callable[[int], int]:
    """Brings the bits of a set from the order of rules into ``order``."""
    if not order:
        return lambda found: 0
    # On digits, highest first: the picker takes them in one call. Bits of no rule are the first.
    pick = itemgetter(*(0 if number < 0 else rules - number for number in reversed(order)))
    return lambda found: int("".join(pick(f"0{found:0{rules}b}")), 2)
