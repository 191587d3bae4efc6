"""Pieces: automata over bytes without empty steps and without conditions, one for each tree."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial

from l7proxy.compiler.errors import TooLarge
from l7proxy.compiler.nodes import Condition, Node
from l7proxy.compiler.program import EVERY_BYTE, Program, assemble, closure, range_mask

# Where conditions have to be asked, a step costs more.
_MOST_EDGES, _MOST_ASKING_EDGES = 200_000, 50_000
# A step on fewer bytes than this is kept byte by byte: looking a byte up is cheap, and every
# distinct mask splits the bytes anew.
FEW = 4


@dataclass(frozen=True, slots=True)
class State:
    """``few``: (byte, next state); ``wide``: (mask of bytes, next state); ``accepts``: at the end.

    Several steps may read the same byte.
    """

    accepts: bool
    few: tuple[tuple[int, int], ...]
    wide: tuple[tuple[int, int], ...]


Piece = tuple[State, ...]
"""States by number; the first one is where a value starts."""


@lru_cache(maxsize=4096)
def piece(tree: Node, alphabet: int = EVERY_BYTE) -> Piece:
    """The automaton of ``tree`` for values made of the bytes in the mask ``alphabet``.

    Raises TooLarge.
    """
    program = assemble(tree, alphabet)
    return _with_conditions(program, alphabet) if program.asks else _without_conditions(program)


def _without_conditions(program: Program) -> Piece:
    numbers = {program.start: 0}
    order = [program.start]
    states = []
    edges = 0
    for entry in order:
        found, accepts = closure(program, (entry,), _never)
        steps: dict[int, int] = {}
        for at in found:
            mask, then = program.reads[at]
            if then not in numbers:
                numbers[then] = len(order)
                order.append(then)
            target = numbers[then]
            steps[target] = steps.get(target, 0) | mask
        edges += len(steps)
        if edges > _MOST_EDGES:
            raise TooLarge(len(order))
        states.append(_state(accepts, steps))
    return tuple(states)


def _never(_: Condition) -> bool:
    return False


def _state(accepts: bool, steps: dict[int, int]) -> State:
    few: list[tuple[int, int]] = []
    wide: list[tuple[int, int]] = []
    for target, mask in steps.items():
        if mask.bit_count() <= FEW:
            few += [(byte, target) for byte in bytes_of(mask)]
        else:
            wide.append((mask, target))
    return State(accepts, tuple(few), tuple(wide))


def bytes_of(mask: int) -> list[int]:
    """The bytes in a mask, in order."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


# What a condition can see of the byte on either side of its place.
_NOTHING, _NEWLINE, _WORD, _OTHER = range(4)
_NEWLINE_MASK = 1 << 0x0A
_WORD_MASK = range_mask(0x30, 0x39) | range_mask(0x41, 0x5A) | 1 << 0x5F | range_mask(0x61, 0x7A)
_KINDS = (
    (_NEWLINE, _NEWLINE_MASK),
    (_WORD, _WORD_MASK),
    (_OTHER, EVERY_BYTE ^ _NEWLINE_MASK ^ _WORD_MASK),
)


def _holds(before: int, after: int, condition: Condition) -> bool:
    match condition:
        case Condition.BEGIN_TEXT:
            return before == _NOTHING
        case Condition.END_TEXT:
            return after == _NOTHING
        case Condition.BEGIN_LINE:
            return before in (_NOTHING, _NEWLINE)
        case Condition.END_LINE:
            return after in (_NOTHING, _NEWLINE)
        case Condition.WORD_BOUNDARY:
            return (before == _WORD) != (after == _WORD)
        case _:
            return (before == _WORD) == (after == _WORD)


def _with_conditions(program: Program, alphabet: int) -> Piece:
    """Deterministic: a state is a set of instructions and the kind of the byte read before.

    The kind of the next byte tells which conditions hold, so each kind has a closure of its own.
    """
    start: tuple[tuple[int, ...], int] = ((program.start,), _NOTHING)
    numbers = {start: 0}
    order = [start]
    states = []
    work = 0
    for entries, before in order:
        steps: dict[int, int] = {}
        for kind, kind_mask in _KINDS:
            found, _ = closure(program, entries, partial(_holds, before, kind))
            reads = [program.reads[at] for at in found]
            work += len(reads) + 1
            if work > _MOST_ASKING_EDGES:
                raise TooLarge(len(order))
            for region, targets in regions(alphabet & kind_mask, reads):
                state = (tuple(sorted(targets)), kind)
                if state not in numbers:
                    numbers[state] = len(order)
                    order.append(state)
                target = numbers[state]
                steps[target] = steps.get(target, 0) | region
        _, accepts = closure(program, entries, partial(_holds, before, _NOTHING))
        states.append(_state(accepts, steps))
    return tuple(states)


def regions(within: int, reads: list[tuple[int, int]]) -> list[tuple[int, frozenset[int]]]:
    """``within`` cut into masks of bytes that lead to the same targets; to none is left out."""
    targets_of: dict[int, set[int]] = {}
    for mask, target in reads:
        targets_of.setdefault(mask, set()).add(target)
    cut: list[tuple[int, frozenset[int]]] = [(within, frozenset())]
    for mask, found in targets_of.items():
        parts = []
        for region, targets in cut:
            inside = region & mask
            if inside:
                parts.append((inside, targets | found))
            if inside != region:
                parts.append((region ^ inside, targets))
        cut = parts
    return [(region, targets) for region, targets in cut if targets]
