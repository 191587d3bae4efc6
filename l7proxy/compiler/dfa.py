"""One table for many patterns: which of them match a value, for one look-up a byte."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from l7proxy.compiler.charsets import UNICODE_TOP
from l7proxy.compiler.errors import DEFAULT_BOUNDS, Bounds, TooLarge
from l7proxy.compiler.forest import Forest
from l7proxy.compiler.minimise import equivalent
from l7proxy.compiler.nodes import without_anchors
from l7proxy.compiler.program import EVERY_BYTE
from l7proxy.compiler.subsets import Rows, determinise
from l7proxy.compiler.syntax import parse

DEAD = 0
"""The state that nothing leads out of; it accepts nothing but what a table accepts everywhere."""


@dataclass(frozen=True)
class Dfa:
    """A minimal automaton over bytes in flat tables.

    classes: 256 bytes, the class of each byte. transitions: 16 bits in the machine's byte order
    for each state and class, the classes of a state side by side. accept: 16 bits for each state,
    an index into ``accepts``, the bit sets of what matches a value that ends there.

    The same patterns with the same bits give the same bytes, in whatever order they were given:
    states are numbered breadth first from ``start``, after DEAD, and classes by their first byte.
    """

    classes: bytes
    width: int
    start: int
    transitions: bytes
    accept: bytes
    accepts: tuple[int, ...]

    @property
    def states(self) -> int:
        return len(self.accept) // 2

    @property
    def table_bytes(self) -> int:
        return len(self.transitions) + len(self.accept) + len(self.classes)

    def walk(self, data: bytes, state: int | None = None) -> int:
        """The state after ``data``, from ``state`` on (None: from the start)."""
        width, transitions = self.width, self._transitions
        at = self.start if state is None else state
        for each in data.translate(self.classes):
            at = transitions[at * width + each]
        return at

    def accepted(self, state: int) -> int:
        """The bit set of what matches a value that ends in ``state``."""
        return self.accepts[self._accept[state]]

    def match(self, value: bytes) -> int:
        """The bit set of what matches the whole ``value``."""
        return self.accepted(self.walk(value))

    def steps(self, state: int) -> list[tuple[int, int]]:
        """(mask of bytes, next state) for each state but DEAD that follows ``state``."""
        row = self._transitions[state * self.width : (state + 1) * self.width]
        masks: dict[int, int] = {}
        for target, mask in zip(row, self._class_masks, strict=True):
            if target != DEAD:
                masks[target] = masks.get(target, 0) | mask
        return [(mask, target) for target, mask in masks.items()]

    @cached_property
    def _class_masks(self) -> list[int]:
        masks = [0] * self.width
        for byte, number in enumerate(self.classes):
            masks[number] |= 1 << byte
        return masks

    @cached_property
    def _transitions(self) -> Sequence[int]:
        return memoryview(self.transitions).cast("H")

    @cached_property
    def _accept(self) -> Sequence[int]:
        return memoryview(self.accept).cast("H")

    def __getstate__(self) -> dict[str, object]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}


def compile_patterns(patterns: Sequence[str], bounds: Bounds = DEFAULT_BOUNDS) -> Dfa:
    """The table of RE2 patterns that must match a whole value of any bytes; pattern 0 is bit 0.

    Raises Unsupported or TooLarge.
    """
    forest = Forest(EVERY_BYTE)
    root = forest.root()
    for number, pattern in enumerate(patterns):
        forest.add(root, without_anchors(parse(pattern, UNICODE_TOP)), 1 << number)
    return build(forest, root, bounds)


def build(forest: Forest, root: int, bounds: Bounds = DEFAULT_BOUNDS, everywhere: int = 0) -> Dfa:
    """The table of what is read from ``root`` on; every state accepts ``everywhere`` besides.

    Raises TooLarge.
    """
    return freeze(determinise(forest, root, bounds), bounds, everywhere)


def freeze(found: Rows, bounds: Bounds, everywhere: int = 0) -> Dfa:
    """Minimise, number and flatten. Raises TooLarge."""
    block = equivalent(found.rows, found.marks)
    samples: dict[int, int] = {}
    for state, number in enumerate(block):
        samples.setdefault(number, state)
    dead, start = block[DEAD], block[found.start]
    numbers = {dead: DEAD}
    numbers.setdefault(start, len(numbers))
    if len(samples) > min(bounds.states, 1 << 16):
        raise TooLarge(len(samples))
    order = list(numbers)
    rows: list[list[int]] = []
    for each in order:
        row = [block[target] for target in found.rows[samples[each]]]
        for into in dict.fromkeys(row):
            if into not in numbers:
                numbers[into] = len(order)
                order.append(into)
        rows.append([numbers[into] for into in row])
    columns: dict[tuple[int, ...], int] = {}
    of_class = [columns.setdefault(column, len(columns)) for column in zip(*rows, strict=True)]
    flat = array("H", [target for row in zip(*columns, strict=True) for target in row])
    if 2 * len(flat) > bounds.table_bytes:
        raise TooLarge(len(rows))
    accepts: dict[int, int] = {}
    accept = array(
        "H",
        [
            accepts.setdefault(found.marks[samples[each]] | everywhere, len(accepts))
            for each in order
        ],
    )
    return Dfa(
        bytes(of_class[each] for each in found.classes),
        len(columns),
        numbers[start],
        flat.tobytes(),
        accept.tobytes(),
        tuple(accepts),
    )
