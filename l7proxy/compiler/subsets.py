"""The subset construction: a forest becomes rows of a table, with a bound on its size.

The bytes are put into classes first: bytes that no step of the forest tells apart. A row has one
target for each class. Row 0 is the state that nothing leads out of.
"""

from __future__ import annotations

from dataclasses import dataclass

from l7proxy.compiler.errors import Bounds, TooLarge
from l7proxy.compiler.forest import Forest, Targets
from l7proxy.compiler.nfa import bytes_of, regions
from l7proxy.compiler.program import EVERY_BYTE


@dataclass(slots=True)
class Rows:
    """An automaton as it is built. ``classes``: byte to class; ``marks``: of each row."""

    classes: bytes
    start: int
    rows: list[list[int]]
    marks: list[int]


def determinise(forest: Forest, root: int, bounds: Bounds) -> Rows:
    """The rows of what is read from ``root`` on.

    Raises TooLarge at twice the size that ``bounds`` allow, and when their steps are used up.
    """
    construction = _Construction(forest, bounds)
    return construction.run(root)


class _Construction:
    """Subsets are sorted tuples of states of the forest, numbered as they are met."""

    __slots__ = (
        "_class_of",
        "_classes_in",
        "_forest",
        "_limits",
        "_most",
        "_numbers",
        "_order",
        "_samples",
        "_steps",
    )

    def __init__(self, forest: Forest, bounds: Bounds) -> None:
        self._forest = forest
        self._limits = bounds
        self._class_of, self._samples = _byte_classes(forest)
        self._classes_in: dict[int, list[int]] = {}
        self._numbers: dict[Targets, int] = {(): 0}
        self._order: list[Targets] = [()]
        self._steps = 0
        # Two bytes a transition; twice as much, because equal states are found only later.
        self._most = 2 * min(bounds.states, bounds.table_bytes // (2 * len(self._samples)))

    def run(self, root: int) -> Rows:
        forest, class_of = self._forest, self._class_of
        kids, few, wide = forest.kids, forest.few, forest.wide
        empty = [0] * len(self._samples)
        rows, marks = [], []
        start = self._number((root,))
        for subset in self._order:
            row = empty.copy()
            if len(subset) == 1 and not few[subset[0]] and not wide[subset[0]]:
                for byte, child in kids[subset[0]].items():
                    row[class_of[byte]] = self._number((child,))
            else:
                self._fill(row, subset)
            mark = 0
            for state in subset:
                mark |= forest.marks[state]
            rows.append(row)
            marks.append(mark)
        return Rows(class_of, start, rows, marks)

    def _number(self, subset: Targets) -> int:
        number = self._numbers.get(subset)
        if number is None:
            number = self._numbers[subset] = len(self._order)
            if number >= self._most:
                raise TooLarge(number + 1)
            self._order.append(subset)
        return number

    def _fill(self, row: list[int], subset: Targets) -> None:
        forest = self._forest
        single: dict[int, set[int]] = {}
        wide: list[tuple[int, int]] = []
        for state in subset:
            few = forest.few[state]
            for byte, target in (*forest.kids[state].items(), *few):
                single.setdefault(byte, set()).add(target)
            wide += forest.wide[state]
            self._steps += 1 + len(few)
        self._steps += len(wide)
        if self._steps > self._limits.steps:
            raise TooLarge(len(self._order))
        for region, targets in regions(EVERY_BYTE, wide) if wide else ():
            number = self._number(tuple(sorted(targets)))
            for each in self._classes_of(region):
                row[each] = number
        order = self._order
        for byte, found in single.items():
            at = self._class_of[byte]
            # What the wide steps do with this byte has been entered just before.
            found.update(order[row[at]])
            row[at] = self._number(tuple(sorted(found)))

    def _classes_of(self, mask: int) -> list[int]:
        found = self._classes_in.get(mask)
        if found is None:
            found = [at for at, sample in enumerate(self._samples) if mask >> sample & 1]
            self._classes_in[mask] = found
        return found


def _byte_classes(forest: Forest) -> tuple[bytes, list[int]]:
    """The class of each byte, and a byte of each class; both in the order of bytes."""
    alone = 0
    for kids in forest.kids:
        for byte in kids:
            alone |= 1 << byte
    for steps in forest.few:
        for byte, _ in steps:
            alone |= 1 << byte
    parts = [EVERY_BYTE & ~alone] + [1 << byte for byte in bytes_of(alone)]
    for mask in dict.fromkeys(mask for steps in forest.wide for mask, _ in steps):
        parts = [part for whole in parts for part in (whole & mask, whole & ~mask) if part]
    parts = sorted((part for part in parts if part), key=lambda part: part & -part)
    class_of = bytearray(256)
    for number, part in enumerate(parts):
        for byte in bytes_of(part):
            class_of[byte] = number
    return bytes(class_of), [(part & -part).bit_length() - 1 for part in parts]
