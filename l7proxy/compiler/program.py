"""From a syntax tree to instructions: bytes to read, ways that part, conditions to hold.

An instruction is a number. Programs are built from their end to their start, each part knowing
what follows it, so that parts with the same end share it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from l7proxy.compiler import charsets
from l7proxy.compiler.errors import TooLarge
from l7proxy.compiler.nodes import Alt, Assertion, Cat, Chars, Condition, Node, Repeat

EVERY_BYTE = (1 << 256) - 1
_MOST_INSTRUCTIONS = 100_000

FAIL, MATCH = 0, 1


@dataclass(slots=True)
class Program:
    """``reads``: instruction to (mask of bytes, next); ``ways``: to the instructions that all go
    on at the same place; ``asks``: to (condition, next). FAIL and MATCH are in none of them.
    """

    start: int = FAIL
    reads: dict[int, tuple[int, int]] = field(default_factory=dict)
    ways: dict[int, list[int]] = field(default_factory=dict)
    asks: dict[int, tuple[Condition, int]] = field(default_factory=dict)


Holds = Callable[[Condition], bool]


def closure(program: Program, entries: tuple[int, ...], holds: Holds) -> tuple[list[int], bool]:
    """The reading instructions that ``entries`` lead to, in order, and whether MATCH is one."""
    seen = set(entries)
    queue = list(entries)
    found = []
    for at in queue:
        if at in program.reads:
            found.append(at)
            continue
        if at in program.ways:
            onward = program.ways[at]
        elif at in program.asks and holds(program.asks[at][0]):
            onward = [program.asks[at][1]]
        else:
            continue
        fresh = [each for each in onward if each not in seen]
        seen.update(fresh)
        queue.extend(dict.fromkeys(fresh))
    return found, MATCH in seen


def assemble(tree: Node, alphabet: int) -> Program:
    """The program of a tree for values made of the bytes in the mask ``alphabet``.

    Raises TooLarge for a tree of more than 100,000 instructions.
    """
    builder = _Builder(alphabet)
    builder.program.start = builder.build(tree, MATCH)
    return builder.program


class _Builder:
    __slots__ = ("_alphabet", "_count", "_shared", "program")

    def __init__(self, alphabet: int) -> None:
        self.program = Program()
        self._alphabet = alphabet
        self._count = 2
        self._shared: dict[tuple[int, int], int] = {}

    def _number(self) -> int:
        self._count += 1
        if self._count > _MOST_INSTRUCTIONS:
            raise TooLarge(self._count)
        return self._count - 1

    def _read(self, mask: int, then: int) -> int:
        mask &= self._alphabet
        if not mask or then == FAIL:
            return FAIL
        key = (mask, then)
        if key not in self._shared:
            self._shared[key] = number = self._number()
            self.program.reads[number] = key
        return self._shared[key]

    def _either(self, ways: list[int]) -> int:
        unique = [way for way in dict.fromkeys(ways) if way != FAIL]
        if len(unique) < 2:
            return unique[0] if unique else FAIL
        number = self._number()
        self.program.ways[number] = unique
        return number

    def build(self, node: Node, then: int) -> int:
        """The instruction that reads ``node`` and goes on at ``then``."""
        match node:
            case str():
                for byte in reversed(node.encode()):
                    then = self._read(1 << byte, then)
                return then
            case Chars(ranges):
                return self._chars(ranges, then)
            case Cat(parts):
                for part in reversed(parts):
                    then = self.build(part, then)
                return then
            case Alt(parts):
                return self._either([self.build(part, then) for part in parts])
            case Repeat(inner, least, most):
                return self._repeat(inner, least, most, then)
            case Assertion(condition):
                number = self._number()
                self.program.asks[number] = (condition, then)
                return number

    def _repeat(self, inner: Node, least: int, most: int | None, then: int) -> int:
        if most is not None:
            entry = then
            for _ in range(most - least):
                entry = self._either([self.build(inner, entry), then])
        else:
            entry = self._number()
            self.program.ways[entry] = [then]
            first = self.build(inner, entry)
            self.program.ways[entry].append(first)
            if least:
                entry, least = first, least - 1
        for _ in range(least):
            entry = self.build(inner, entry)
        return entry

    def _chars(self, ranges: charsets.Ranges, then: int) -> int:
        mask = 0
        ways = []
        for sequence in charsets.utf8(ranges):
            if len(sequence) == 1:
                mask |= range_mask(*sequence[0])
                continue
            entry = then
            for first, last in reversed(sequence):
                entry = self._read(range_mask(first, last), entry)
            ways.append(entry)
        return self._either([self._read(mask, then), *ways])


def range_mask(first: int, last: int) -> int:
    """The mask of the bytes from ``first`` to ``last``, both included."""
    return (2 << last) - (1 << first)
