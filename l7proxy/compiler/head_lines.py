"""What heads, trailers and chunked content of both directions have in common: lines.

Every fault of a request has its own stop, the reason that ``l7proxy.http`` gives for the same
byte. All faults of a response are UPSTREAM_NOT_HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from l7proxy.compiler.head_actions import NOTHING, Count, Flag, action
from l7proxy.compiler.head_automaton import (
    Automaton,
    Entry,
    HeadTable,
    Pause,
    at,
    bytes_of,
    either_case,
)
from l7proxy.http.grammar import FIELD_BYTE, TCHAR
from l7proxy.reasons import Reason

CR, LF = b"\r", b"\n"
OWS = frozenset(b"\t ")
TOKEN = bytes_of(TCHAR)
TEXT = bytes_of(FIELD_BYTE) - OWS
DIGITS = b"0123456789"
HEX = b"0123456789abcdefABCDEF"

# Names of states that several modules lead to.
LINE = "line"
VALUE = "value"
VALUE_CR = "value cr"
CHUNK_SIZE = "chunk size"
CHUNK_END = "chunk end"

_ENTRIES = {
    Entry.MESSAGE: "message",
    Entry.FIELDS: LINE,
    Entry.CHUNK_SIZE: CHUNK_SIZE,
    Entry.CHUNK_END: CHUNK_END,
}


class Lines:
    """An automaton under construction and the faults of its side."""

    def __init__(self, automaton: Automaton, *, upstream: bool) -> None:
        self.automaton = automaton
        self._upstream = upstream
        self._broken: set[Reason] = set()

    def fault(self, reason: Reason) -> str:
        """The state that refuses for ``reason``."""
        return at(Reason.UPSTREAM_NOT_HTTP if self._upstream else reason)

    def broken(self, name: str, otherwise: Reason) -> str:
        """Let ``name`` refuse line ends as ``l7proxy.http.head`` does where none belongs: a bare
        CR or LF is BAD_LINE_END, a CRLF is ``otherwise``. Returns ``name``."""
        after = f"broken by {otherwise.value}"
        if otherwise not in self._broken:
            self._broken.add(otherwise)
            self.automaton.state(after, self.fault(Reason.BAD_LINE_END))
            self.automaton.on(after, LF, self.fault(otherwise))
        self.automaton.on(name, LF, self.fault(Reason.BAD_LINE_END))
        self.automaton.on(name, CR, after)
        return name

    def end_of_line(self, name: str, target: str, word: int = NOTHING) -> str:
        """A state behind a CR: LF leads to ``target``, anything else makes the CR a bare one."""
        self.automaton.state(name, self.fault(Reason.BAD_LINE_END), word)
        self.automaton.on(name, LF, target)
        return name

    def value_state(self, name: str, word: int = NOTHING) -> str:
        """A state inside a field value; where text and white space lead is the caller's."""
        self.automaton.state(name, self.fault(Reason.BAD_HEADER_VALUE), word)
        self.automaton.on(name, LF, self.fault(Reason.BAD_LINE_END))
        self.automaton.on(name, CR, VALUE_CR)
        return name

    def spell(
        self,
        prefix: str,
        words: Iterable[bytes],
        other: str,
        word: int = NOTHING,
        *,
        fold: bool = True,
    ) -> dict[bytes, str]:
        """States that spell ``words`` letter by letter, and lead where ``other`` does otherwise.

        ``fold``: in any case. Returns the state behind every word and every beginning of one.
        """
        begun = {each[:size] for each in words for size in range(1, len(each) + 1)}
        states = {each: f"{prefix} {each.decode()}" for each in sorted(begun)}
        for name in states.values():
            self.automaton.like(name, other, word)
        for each, name in states.items():
            if len(each) > 1:
                self.automaton.on(states[each[:-1]], _letter(each[-1], fold=fold), name)
        return states

    def begin(self, name: str, states: Mapping[bytes, str], *, fold: bool = True) -> None:
        """Let the first letters of spelled words lead from ``name`` into their states."""
        for each, state in states.items():
            if len(each) == 1:
                self.automaton.on(name, _letter(each[0], fold=fold), state)

    def finish(self, starts: Mapping[bytes, str]) -> HeadTable:
        """Add what follows the first line, and freeze. ``starts``: for a lower-case name the state
        behind its colon. Raises TooLarge."""
        self._add_fields(starts)
        self._add_chunks()
        return self.automaton.freeze(_ENTRIES)

    def _add_fields(self, starts: Mapping[bytes, str]) -> None:
        """The states from LINE on: field lines up to the empty line."""
        automaton = self.automaton
        self.value_state(VALUE)
        automaton.on(VALUE, TEXT | OWS, VALUE)
        automaton.like("value start", VALUE, action(count=Count.FIELDS))
        automaton.like("value start forbidden", VALUE, action(Flag.FORBIDDEN, Count.FIELDS))
        self.end_of_line(VALUE_CR, LINE)
        self.end_of_line("head cr", at(Pause.HEAD_END))
        automaton.state("name", self.fault(Reason.BAD_HEADER_NAME))
        self.broken("name", Reason.BAD_HEADER_NAME)
        automaton.on("name", TOKEN, "name")
        automaton.on("name", b":", "value start")
        automaton.state(LINE, self.fault(Reason.BAD_HEADER_NAME))
        automaton.on(LINE, TOKEN, "name")
        automaton.on(LINE, OWS, self.fault(Reason.LINE_FOLDING))
        automaton.on(LINE, LF, self.fault(Reason.BAD_LINE_END))
        automaton.on(LINE, CR, "head cr")
        names = self.spell("name", starts, "name")
        for name, start in starts.items():
            automaton.on(names[name], b":", start)
        self.begin(LINE, names)

    def _add_chunks(self) -> None:
        """The states of chunked content: CHUNK_SIZE before a chunk line, CHUNK_END behind data."""
        automaton, fault = self.automaton, self.fault(Reason.BAD_CHUNK)
        automaton.state("chunk cr", fault)
        automaton.on("chunk cr", LF, at(Pause.CHUNK_LINE))
        automaton.state("chunk extension", fault)
        automaton.on("chunk extension", TEXT | OWS, "chunk extension")
        automaton.on("chunk extension", CR, "chunk cr")
        word = action(count=Count.DIGITS, factor=16, digit=True)
        automaton.state("chunk digit", fault, word)
        automaton.on("chunk digit", HEX, "chunk digit")
        automaton.on("chunk digit", b";", "chunk extension")
        automaton.on("chunk digit", CR, "chunk cr")
        automaton.state(CHUNK_SIZE, fault)
        automaton.on(CHUNK_SIZE, HEX, "chunk digit")
        automaton.state("chunk end lf", fault)
        automaton.on("chunk end lf", LF, CHUNK_SIZE)
        automaton.state(CHUNK_END, fault)
        automaton.on(CHUNK_END, CR, "chunk end lf")


def _letter(byte: int, *, fold: bool) -> Iterable[int]:
    return either_case(byte) if fold else (byte,)
