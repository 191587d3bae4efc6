"""Many patterns as one automaton with marks: tries of their literal beginnings, then pieces.

Patterns that begin alike share the states of that beginning, so that a thousand rules below
``/v1/`` are one state there and not a thousand.
"""

from __future__ import annotations

from l7proxy.compiler.errors import TooLarge
from l7proxy.compiler.nfa import FEW, Piece, State, bytes_of, piece
from l7proxy.compiler.nodes import EMPTY, Alt, Cat, Node, cat, has_assertion
from l7proxy.compiler.program import EVERY_BYTE

_MOST_STATES = 200_000

Targets = tuple[int, ...]


class Forest:
    """States by number. ``kids`` of a state: byte to the one state of the trie; ``few`` and
    ``wide``: further steps, as in ``nfa.State``; ``marks``: a bit set of the values that end here.
    """

    __slots__ = ("_alphabet", "few", "kids", "marks", "wide")

    def __init__(self, alphabet: int = EVERY_BYTE) -> None:
        """``alphabet``: a mask of the bytes that values are made of, where ``add`` reads them."""
        self._alphabet = alphabet
        self.kids: list[dict[int, int]] = []
        self.few: list[list[tuple[int, int]]] = []
        self.wide: list[list[tuple[int, int]]] = []
        self.marks: list[int] = []

    def root(self, marks: int = 0) -> int:
        """A new state without steps. Raises TooLarge."""
        if len(self.kids) >= _MOST_STATES:
            raise TooLarge(len(self.kids))
        self.kids.append({})
        self.few.append([])
        self.wide.append([])
        self.marks.append(marks)
        return len(self.kids) - 1

    def add(self, root: int, tree: Node, marks: int) -> None:
        """Let the values of ``tree``, read from ``root`` on, end in ``marks``. Raises TooLarge."""
        for branch in tree.parts if isinstance(tree, Alt) else (tree,):
            text, rest = _split(branch)
            at = self._walk(root, text.encode())
            if at is None:
                continue
            if rest == EMPTY:
                self.marks[at] |= marks
            else:
                self._hang(at, piece(rest, self._alphabet), marks)

    def add_bytes(self, root: int, value: bytes, marks: int) -> None:
        """Let exactly ``value``, read from ``root`` on, end in ``marks``. Raises TooLarge."""
        at = self._walk(root, value)
        if at is not None:
            self.marks[at] |= marks

    def step(self, at: int, mask: int, target: int) -> None:
        """Let every byte of ``mask`` lead from the state ``at`` to ``target``."""
        if mask.bit_count() <= FEW:
            self.few[at] += [(byte, target) for byte in bytes_of(mask)]
        else:
            self.wide[at].append((mask, target))

    def add_any(self, root: int, alphabet: int, marks: int) -> None:
        """Let every value of bytes in ``alphabet``, the empty one too, end in ``marks``."""
        loop = self.root(marks)
        self.wide[loop].append((alphabet, loop))
        self.wide[root].append((alphabet, loop))
        self.marks[root] |= marks

    def _walk(self, at: int, text: bytes) -> int | None:
        for byte in text:
            child = self.kids[at].get(byte)
            if child is None:
                if not self._alphabet >> byte & 1:
                    return None
                child = self.kids[at][byte] = self.root()
            at = child
        return at

    def _hang(self, at: int, states: Piece, marks: int) -> None:
        """The first state of the piece becomes part of ``at``; those it can reach, new ones."""
        base = len(self.kids)
        if base + len(states) > _MOST_STATES:
            raise TooLarge(base + len(states))
        for state in states:
            self.kids.append({})
            self.few.append([])
            self.wide.append([])
            self.marks.append(0)
            self._copy(state, len(self.kids) - 1, base, marks)
        self._copy(states[0], at, base, marks)

    def _copy(self, state: State, at: int, base: int, marks: int) -> None:
        self.few[at] += [(byte, base + target) for byte, target in state.few]
        self.wide[at] += [(mask, base + target) for mask, target in state.wide]
        if state.accepts:
            self.marks[at] |= marks


def _split(tree: Node) -> tuple[str, Node]:
    """The text a tree begins with, and what follows it.

    An assertion looks at what stands before it, and so must not be parted from that.
    """
    match tree:
        case str():
            return tree, EMPTY
        case Cat((str() as text, *rest)) if not any(map(has_assertion, rest)):
            return text, cat(rest)
        case _:
            return "", tree
