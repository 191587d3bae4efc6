"""The syntax of RE2's expressions, with the options that policies use (its defaults, UTF-8).

Only what RE2 accepts need be read right: policies are checked by RE2 before. What is not
understood here raises Unsupported, and never means something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from unicodedata import category

from l7proxy.compiler import classes
from l7proxy.compiler.charsets import UNICODE_TOP, Ranges, complement, cut, folded
from l7proxy.compiler.errors import Unsupported
from l7proxy.compiler.nodes import EMPTY, Assertion, Chars, Condition, Node, Repeat, alt, cat

_PLAIN = re.compile(r"[^\\.+*?()|\[{^$]+")
_COUNTS = re.compile(r"\{(0|[1-9][0-9]{0,7})(?:(,)(0|[1-9][0-9]{0,7})?)?\}")
_FLAGS = re.compile(r"\(\?([imsU]*)(-[imsU]+)?([:)])")
_NAMED = re.compile(r"\(\?P?<([^>]*)>")
_OF_NAMES = frozenset(("Lu", "Ll", "Lt", "Lm", "Lo", "Nl", "Mn", "Mc", "Nd", "Pc"))
"""The categories of the characters that RE2 allows in the name of a group."""
_ASSERTIONS = {
    "A": Condition.BEGIN_TEXT,
    "z": Condition.END_TEXT,
    "b": Condition.WORD_BOUNDARY,
    "B": Condition.NO_WORD_BOUNDARY,
}

_TIMES: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}

# RE2 refuses larger counts, also when nested counts multiply to one.
_MOST = 1000
_DEEPEST = 100


@lru_cache(maxsize=8192)
def parse(pattern: str, top: int = UNICODE_TOP) -> Node:
    """The tree of ``pattern`` for values whose characters go up to the code point ``top``.

    Raises Unsupported for what has no automaton and for what RE2 would not accept.
    """
    return _Parser(pattern, top).parse()


@dataclass(slots=True)
class _Group:
    """An open group: the branches that are complete, the one being read, the flags before it."""

    flags: frozenset[str]
    branches: list[Node] = field(default_factory=list)
    parts: list[Node] = field(default_factory=list)

    def close(self) -> Node:
        self.branches.append(cat(self.parts))
        return alt(self.branches)


class _Parser:
    __slots__ = ("_at", "_flags", "_open", "_repeated", "_text", "_top")

    def __init__(self, pattern: str, top: int) -> None:
        self._text = pattern
        self._top = top
        self._at = 0
        self._flags: frozenset[str] = frozenset()
        self._open = [_Group(self._flags)]
        self._repeated = -1

    def parse(self) -> Node:
        while self._at < len(self._text):
            self._one()
        if len(self._open) > 1:
            raise Unsupported("a group is not closed")
        tree = self._open[0].close()
        if _counted(tree) > _MOST:
            raise Unsupported(f"counted repetitions of more than {_MOST} in all")
        return tree

    def _one(self) -> None:
        plain = _PLAIN.match(self._text, self._at)
        if plain is not None:
            self._at = plain.end()
            self._literal(plain[0])
            return
        match self._text[self._at]:
            case "\\":
                self._backslash()
            case "[":
                ranges, self._at = classes.parse_class(
                    self._text, self._at, self._top, fold="i" in self._flags
                )
                self._push(Chars(ranges))
            case "(":
                self._open_group()
            case ")":
                self._close_group()
            case "|":
                self._at += 1
                group = self._open[-1]
                group.branches.append(cat(group.parts))
                group.parts = []
            case ".":
                self._at += 1
                excluded = () if "s" in self._flags else ((0x0A, 0x0A),)
                self._push(Chars(complement(excluded, self._top)))
            case "^":
                self._at += 1
                self._anchor(Condition.BEGIN_LINE, Condition.BEGIN_TEXT)
            case "$":
                self._at += 1
                self._anchor(Condition.END_LINE, Condition.END_TEXT)
            case operator:
                self._quantifier(operator)

    def _push(self, node: Node) -> None:
        self._open[-1].parts.append(node)

    def _anchor(self, of_line: Condition, of_text: Condition) -> None:
        self._push(Assertion(of_line if "m" in self._flags else of_text))

    def _literal(self, text: str) -> None:
        """Each character a part of its own, because a quantifier takes the last one alone."""
        if "i" not in self._flags:
            self._open[-1].parts.extend(text)
            return
        for char in text:
            point = ord(char)
            same = folded(((point, point),), self._top)
            alone = same == ((point, point),) or (not same and point > self._top)
            self._push(char if alone else Chars(same))

    def _backslash(self) -> None:
        text, at = self._text, self._at
        letter = text[at + 1 : at + 2]
        if letter in _ASSERTIONS:
            self._at += 2
            self._push(Assertion(_ASSERTIONS[letter]))
        elif letter == "Q":
            end = text.find("\\E", at + 2)
            self._literal(text[at + 2 : end] if end >= 0 else text[at + 2 :])
            self._at = end + 2 if end >= 0 else len(text)
        elif letter == "C":
            raise Unsupported("\\C matches single bytes of a character")
        else:
            group = classes.parse_escaped_group(text, at, self._top, fold="i" in self._flags)
            if group is not None:
                ranges, self._at = group
                self._push(Chars(ranges))
            else:
                point, self._at = classes.parse_escape(text, at)
                self._escaped(point)

    def _escaped(self, point: int) -> None:
        if 0xD800 <= point <= 0xDFFF:
            same: Ranges = ((point, point),)
            self._push(Chars(cut(same, self._top)))
        else:
            self._literal(chr(point))

    def _open_group(self) -> None:
        text, at = self._text, self._at
        before = self._flags
        if text.startswith("(?", at):
            named = _NAMED.match(text, at)
            flags = _FLAGS.match(text, at)
            if named is not None:
                if not named[1] or any(category(each) not in _OF_NAMES for each in named[1]):
                    raise Unsupported(f"a group named {named[1]!r}")
                self._at = named.end()
            elif flags is not None:
                self._at = flags.end()
                self._flags = (before | set(flags[1])) - set(flags[2] or "")
                if flags[3] == ")":
                    return
            else:
                raise Unsupported(f"a group that starts with {text[at : at + 4]}")
        else:
            self._at += 1
        if len(self._open) > _DEEPEST:
            raise Unsupported(f"groups nested more than {_DEEPEST} deep")
        self._open.append(_Group(before))

    def _close_group(self) -> None:
        if len(self._open) == 1:
            raise Unsupported("a group is closed that is not open")
        self._at += 1
        group = self._open.pop()
        self._flags = group.flags
        self._push(group.close())

    def _quantifier(self, operator: str) -> None:
        start = self._at
        end = start + 1
        least, most = _TIMES.get(operator, (0, None))
        if operator == "{":
            counts = _COUNTS.match(self._text, start)
            if counts is None:
                self._at = end
                self._literal("{")
                return
            end = counts.end()
            least = int(counts[1])
            most = int(counts[3]) if counts[3] else None if counts[2] else least
            if least > _MOST or (most is not None and not least <= most <= _MOST):
                raise Unsupported(f"the repetition {counts[0]}")
        parts = self._open[-1].parts
        if not parts:
            raise Unsupported("nothing stands before a quantifier")
        if self._repeated == start:
            raise Unsupported("one quantifier after another")
        if self._text.startswith("?", end):
            end += 1
        parts[-1] = _repeat(parts[-1], least, most)
        self._at = self._repeated = end


def _repeat(node: Node, least: int, most: int | None) -> Node:
    if (least, most) == (1, 1):
        return node
    return EMPTY if most == 0 else Repeat(node, least, most)


def _counted(node: Node) -> int:
    """The largest product of nested counts; ``*``, ``+`` and ``?`` count once, as in RE2."""
    match node:
        case Repeat(inner, least, most):
            times = max(least, most or 0, 1)
            return times * _counted(inner)
        case str() | Chars() | Assertion():
            return 1
        case _:
            return max(map(_counted, node.parts), default=1)
