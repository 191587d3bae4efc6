"""Automata over bytes that act on their way: built by name, minimised, and laid out flat."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cached_property

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

    classes: 256 bytes, the class of each byte. shift: a state's row starts at ``state << shift``.
    transitions: 16 bits for each state and class, in the machine's byte order. actions: 64 bits
    for each state, see ``head_actions``. stops: what the first states mean; the walk ends in
    them. entries: the states to begin in, in the order of Entry. width: the number of classes.

    The same grammar gives the same bytes.
    """

    def __init__(
        self,
        classes: bytes,
        width: int,
        transitions: bytes,
        actions: bytes,
        stops: tuple[Stop, ...],
        entries: Mapping[Entry, int],
    ) -> None:
        self.classes = classes
        self.width = width
        self.shift = (width - 1).bit_length()
        self.transitions = transitions
        self.actions = actions
        self.stops = stops
        self.entries = dict(entries)

    @property
    def states(self) -> int:
        return len(self.actions) // 8

    @property
    def table_bytes(self) -> int:
        return len(self.classes) + len(self.transitions) + len(self.actions)

    @cached_property
    def rows(self) -> memoryview:
        return memoryview(self.transitions).cast("H")

    @cached_property
    def words(self) -> memoryview:
        return memoryview(self.actions).cast("Q")


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
        """Minimise, drop what cannot be reached, number breadth first, and flatten."""
        names = {name: number for number, name in enumerate(self._rows)}
        rows = [[names[target] for target in row] for row in self._rows.values()]
        last = len(self._stops)
        # Stops are told apart by what they mean, all others by their words.
        marks = [*range(-last, 0), *list(self._actions.values())[last:]]
        block = equivalent(rows, marks)
        order = list(range(last))
        numbers = {block[state]: state for state in order}

        def number(state: int) -> int:
            if block[state] not in numbers:
                numbers[block[state]] = len(order)
                order.append(state)
            return numbers[block[state]]

        found = {entry: number(names[name]) for entry, name in entries.items()}
        table = []
        for state in order:
            table.append([number(target) for target in rows[state]])
        columns: dict[tuple[int, ...], int] = {}
        classes = bytes(
            columns.setdefault(column, len(columns)) for column in zip(*table, strict=True)
        )
        padding = (1 << (len(columns) - 1).bit_length()) - len(columns)
        transitions = array("H")
        for row in zip(*columns, strict=True):
            transitions.extend(row)
            transitions.extend([0] * padding)
        words = list(self._actions.values())
        actions = array("Q", [words[state] for state in order])
        return HeadTable(
            classes, len(columns), transitions.tobytes(), actions.tobytes(), self._stops, found
        )


def at(stop: Stop) -> str:
    """The name of the state that means ``stop``."""
    return f"stop {stop.value}"
