"""The syntax tree of a pattern: only what matters for which values match as a whole.

Groups leave no trace, greedy and lazy are the same, and text is a plain ``str``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import TypeAlias

from l7proxy.compiler.charsets import Ranges


class Condition(IntFlag):
    """What an assertion asks of the place where it stands."""

    BEGIN_TEXT = 1
    END_TEXT = 2
    BEGIN_LINE = 4
    END_LINE = 8
    WORD_BOUNDARY = 16
    NO_WORD_BOUNDARY = 32


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set; of the empty set: nothing matches."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Cat:
    """One part after the other; without parts: the empty text."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """``least`` to ``most`` times; ``most`` None: without end."""

    node: Node
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Assertion:
    condition: Condition


Node: TypeAlias = str | Chars | Cat | Alt | Repeat | Assertion

EMPTY = Cat(())
NOTHING = Chars(())


def cat(parts: list[Node]) -> Node:
    """The parts one after the other, flat, with neighbouring text joined."""
    flat: list[Node] = []
    text: list[str] = []
    for part in parts:
        for each in part.parts if isinstance(part, Cat) else (part,):
            if isinstance(each, str):
                text.append(each)
                continue
            if text:
                flat.append("".join(text))
                text = []
            flat.append(each)
    if text:
        flat.append("".join(text))
    return flat[0] if len(flat) == 1 else Cat(tuple(flat))


def alt(parts: list[Node]) -> Node:
    """Any of the parts, flat, each once."""
    flat: list[Node] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Alt) else (part,))
    unique = tuple(dict.fromkeys(flat))
    return unique[0] if len(unique) == 1 else Alt(unique)


def has_assertion(node: Node) -> bool:
    """Whether any part of a tree depends on what stands around it."""
    match node:
        case Assertion():
            return True
        case Cat(parts) | Alt(parts):
            return any(map(has_assertion, parts))
        case Repeat(inner):
            return has_assertion(inner)
        case _:
            return False


_AT_START = Condition.BEGIN_TEXT | Condition.BEGIN_LINE
_AT_END = Condition.END_TEXT | Condition.END_LINE


def without_anchors(node: Node) -> Node:
    """The same for whole values, without the anchors that hold anyway at the two ends."""
    return _trim(_trim(node, _AT_START, first=True), _AT_END, first=False)


def _trim(node: Node, anchors: Condition, *, first: bool) -> Node:
    match node:
        case Assertion(condition) if condition in anchors:
            return EMPTY
        case Alt(parts):
            return alt([_trim(part, anchors, first=first) for part in parts])
        case Cat(parts) if parts:
            kept = list(parts)
            if not first:
                kept.reverse()
            while kept and kept[0] != (trimmed := _trim(kept[0], anchors, first=first)):
                kept[0] = trimmed
                if trimmed != EMPTY:
                    break
                del kept[0]
            if not first:
                kept.reverse()
            return cat(kept)
        case _:
            return node
