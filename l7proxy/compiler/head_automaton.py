"""Automata over bytes that act on their way: built by name, minimised, and laid out flat."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from l7proxy.compiler.errors import TooLarge
from l7proxy.compiler.head_actions import NOTHING
from l7proxy.compiler.minimise import equivalent
from l7proxy.reasons import Reason


class Pause(Enum):
    """Where the walk stops for something that happens once a message.

    HEAD_END: after the empty line of a head or of trailers. STATUS_LINE: after a status line, the
    number is the status. CHUNK_LINE: after a chunk's first line, the number is its size.
    """

    HEAD_END = "head-end"
    STATUS_LINE = "status-line"
    CHUNK_LINE = "chunk-line"


Stop = Pause | Reason


class Entry(Enum):
    """The states in which a walk may begin: a message, its field lines, its first chunk line, and
    the end of a chunk's data."""

    MESSAGE = "message"
    FIELDS = "fields"
    CHUNK_SIZE = "chunk-size"
    CHUNK_END = "chunk-end"


class HeadTable:
    """A finished automaton.

    A state is known by where its row begins. The row holds, for each class of bytes, where the
    next state's row begins, and last the index of the state's word in ``words``: so one addition
    finds the next state, and 16 bits can hold no place outside of a table of 65,792 entries.

    classes: 256 bytes, the class of each byte. stride: entries in a row. transitions: the rows,
    16 bits each in the machine's byte order. words: what states do, see ``head_actions``. stops:
    what the first states mean, one row each; a walk ends in them. entries: where walks begin.
    first_acting: the first row of those states that do something; of the others, most bytes of a
    head lead into one, nothing but the next state must be looked up.

    The same grammar gives the same bytes.
    """

    def __init__(
        self,
        classes: bytes,
        stride: int,
        transitions: bytes,
        words: tuple[int, ...],
        stops: tuple[Stop, ...],
        entries: Mapping[Entry, int],
        first_acting: int,
    ) -> None:
        self.classes = classes
        self.stride = stride
        self.transitions = transitions
        self.words = words
        self.stops = stops
        self.entries = dict(entries)
        self.first_acting = first_acting

    @property
    def states(self) -> int:
        return len(self.transitions) // (2 * self.stride)

    @property
    def table_bytes(self) -> int:
        return len(self.classes) + len(self.transitions) + 8 * len(self.words)

    @property
    def first_running(self) -> int:
        """Where the row of the first state begins that does not end a walk."""
        return len(self.stops) * self.stride

    def stop_at(self, row: int) -> Stop | None:
        """What the state of ``row`` means; None while the walk goes on."""
        return self.stops[row // self.stride] if row < self.first_running else None

    @cached_property
    def rows(self) -> Sequence[int]:
        return memoryview(self.transitions).cast("H")


@dataclass(frozen=True)
class Grammar:
    """A table, and which flag says that a watched header is there.

    watched: the lower-case names; the slot of number k is ``Slot.HEADER + k``. present: its flag.
    forbidden: the bits of all flags that no trailer may raise.
    """

    table: HeadTable
    watched: tuple[bytes, ...]
    present: tuple[int, ...]
    forbidden: int


def bytes_of(expression: bytes) -> frozenset[int]:
    """The bytes that a regular expression for one byte matches."""
    matches = re.compile(expression, re.DOTALL).fullmatch
    return frozenset(byte for byte in range(256) if matches(bytes((byte,))))


def either_case(byte: int) -> Iterable[int]:
    return {byte, *bytes((byte,)).lower(), *bytes((byte,)).upper()}


class Automaton:
    """States under construction. A state is known by its name; targets may be named before they
    are made, and ``freeze`` complains of one that never was."""

    def __init__(self, stops: Iterable[Stop]) -> None:
        self._rows: dict[str, list[str]] = {}
        self._actions: dict[str, int] = {}
        self._stops = tuple(stops)
        for stop in self._stops:
            self.state(at(stop), at(stop))

    def state(self, name: str, otherwise: str, word: int = NOTHING) -> str:
        """A new state: every byte leads to ``otherwise`` until ``on`` says something else."""
        if name in self._rows:
            raise ValueError(f"two states are named {name}")
        self._rows[name] = [otherwise] * 256
        self._actions[name] = word
        return name

    def like(self, name: str, model: str, word: int = NOTHING) -> str:
        """A new state that leads where ``model`` does."""
        self.state(name, "", word)
        self._rows[name] = list(self._rows[model])
        return name

    def on(self, name: str, what: Iterable[int], target: str) -> None:
        """Let the bytes ``what`` lead from ``name`` to ``target``."""
        row = self._rows[name]
        for byte in what:
            row[byte] = target

    def freeze(self, entries: Mapping[Entry, str]) -> HeadTable:
        """Minimise, drop what cannot be reached, number breadth first, and flatten.

        Raises TooLarge where 16 bits cannot name every row.
        """
        names = {name: number for number, name in enumerate(self._rows)}
        rows = [[names[target] for target in row] for row in self._rows.values()]
        last = len(self._stops)
        # Stops are told apart by what they mean, all others by their words.
        marks = [*range(-last, 0), *list(self._actions.values())[last:]]
        block = equivalent(rows, marks)
        order = list(range(last))
        numbers = {block[state]: state for state in order}

        def number(state: int) -> None:
            if block[state] not in numbers:
                numbers[block[state]] = len(order)
                order.append(state)

        for name in entries.values():
            number(names[name])
        for state in order:
            for target in rows[state]:
                number(target)
        words = list(self._actions.values())
        order[last:] = sorted(order[last:], key=lambda state: words[state] != NOTHING)
        numbers = {block[state]: at for at, state in enumerate(order)}
        found = {entry: numbers[block[names[name]]] for entry, name in entries.items()}
        table = [[numbers[block[target]] for target in rows[state]] for state in order]
        columns: dict[tuple[int, ...], int] = {}
        classes = bytes(
            columns.setdefault(column, len(columns)) for column in zip(*table, strict=True)
        )
        stride = len(columns) + 1
        if len(order) * stride > 1 << 16:
            raise TooLarge(len(order))
        quiet = sum(words[state] == NOTHING for state in order)
        distinct: dict[int, int] = {NOTHING: 0}
        transitions = array("H")
        for state, row in zip(order, zip(*columns, strict=True), strict=True):
            transitions.extend(target * stride for target in row)
            transitions.append(distinct.setdefault(words[state], len(distinct)))
        places = {entry: target * stride for entry, target in found.items()}
        return HeadTable(
            classes,
            stride,
            transitions.tobytes(),
            tuple(distinct),
            self._stops,
            places,
            quiet * stride,
        )


def at(stop: Stop) -> str:
    """The name of the state that means ``stop``."""
    return f"stop {stop.value}"
