"""The values that are understood while they are read: framing, Host, Connection and their like.

A value is what is left without the white space at its ends (RFC 9110 5.5). A table that reads it
walks over white space inside as it comes, and keeps its state only behind other bytes: white
space that turns out to be the end of the value was then never part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from l7proxy.compiler.head_actions import Count, Feed, Flag, Mark, action
from l7proxy.compiler.head_automaton import bytes_of
from l7proxy.compiler.head_lines import CR, DIGITS, HEX, LINE, OWS, TEXT, TOKEN, VALUE_CR, Lines

_INSIDE = Feed.WALK | Feed.KEEP
_HOST_NAME = bytes_of(rb"[A-Za-z0-9\-._~]")
_LARGEST_PORT = b"65535"


class Value:
    """The states of one field's value, under names that begin with ``name``.

    ``present``: the flag of the field. ``fault``: the flag of a value that is not as it should
    be. ``slot``: the table that reads it, 0 for none.
    """

    def __init__(
        self, lines: Lines, name: str, present: int, *, slot: int = 0, fault: int = 0
    ) -> None:
        self.lines = lines
        self.automaton = lines.automaton
        self.name = name
        self.present = present
        self.slot = slot
        self.fault = fault

    def plain(self) -> str:
        """A value of any text. Returns the state behind the colon, as the other methods do."""
        text, _ = self._text_and_gap("text")
        return self._start(text, VALUE_CR)

    def exactly(self, text: bytes) -> str:
        """Just ``text``, in any case."""
        bad, bad_cr = self._bad()
        start = self._start(bad, bad_cr)
        before = [start, self._named("lead")]
        for size in range(1, len(text) + 1):
            state = self._inside(f"{text[:size].decode()}")
            for each in before:
                self.automaton.on(each, text[size - 1 : size].lower(), state)
                self.automaton.on(each, text[size - 1 : size].upper(), state)
            before = [state]
        self._may_end(before[0])
        return start

    def number(self) -> str:
        """Decimal digits, into the number."""
        bad, bad_cr = self._bad()
        start = self._start(bad, bad_cr, factor=0)
        word = action(0, Count.DIGITS, self.slot, _INSIDE, factor=10, digit=True)
        digits = self._inside("digits", word)
        for each in (start, self._named("lead"), digits):
            self.automaton.on(each, DIGITS, digits)
        self._may_end(digits)
        return start

    def host(self) -> str:
        """``host [":" port]``, as ``l7proxy.http.authority`` accepts it."""
        bad, bad_cr = self._bad()
        start = self._start(bad, bad_cr, mark=Mark.HOST_COLON)
        name = self._inside("name", action(0, Count.HOST, self.slot, _INSIDE))
        for each in (start, self._named("lead"), name):
            self.automaton.on(each, _HOST_NAME, name)
        literal = self._literal()
        for each in (start, self._named("lead")):
            self.automaton.on(each, b"[", literal)
        port = self._port()
        for each in (name, self._named("]"), self._named("short ]")):
            self.automaton.on(each, b":", port)
            self._may_end(each)
        return start

    def options(self, outcomes: Mapping[bytes, int], *, strict: bool) -> str:
        """A list of options; each in ``outcomes`` raises its flag.

        ``strict``: an option that is not a token is a fault. Else it is one of no interest.
        """
        automaton = self.automaton
        start = self._start("", VALUE_CR)
        lead = self._named("lead")
        comma = self._made("comma", action(0, slot=self.slot, feed=_INSIDE))
        gap = self._made("gap", action(0, slot=self.slot, feed=Feed.WALK))
        other = self._made("other", action(0, slot=self.slot, feed=_INSIDE))
        after = self._made("after", action(0, slot=self.slot, feed=Feed.WALK))
        stray = self._bad()[0] if strict else other
        for each in (start, lead, comma, gap, other, after):
            automaton.on(each, TEXT, stray)
            automaton.on(each, b",", comma)
        for each in (start, lead, comma, gap, other):
            automaton.on(each, TOKEN, other)
        for each, space in ((comma, gap), (gap, gap), (other, after), (after, after)):
            automaton.on(each, OWS, space)
        words = self.lines.spell(
            self._named("option"), outcomes, other, action(0, slot=self.slot, feed=_INSIDE)
        )
        for each in (start, lead, comma, gap):
            self.lines.begin(each, words)
        ends = {flag: self._ends(flag, comma, after) for flag in set(outcomes.values())}
        for option, flag in outcomes.items():
            for what, target in zip((b",", OWS, CR), ends[flag], strict=True):
                automaton.on(words[option], what, target)
        return start

    def _ends(self, flag: int, comma: str, after: str) -> tuple[str, str, str]:
        """What follows an option of interest: comma, white space, end of line."""
        with_comma = self._named(f"comma {flag}")
        feeding = action(flag, slot=self.slot, feed=_INSIDE)
        self.automaton.like(with_comma, comma, feeding)
        end = self.lines.end_of_line(self._named(f"cr {flag}"), LINE, action(flag))
        space = self._named(f"after {flag}")
        self.automaton.like(space, after, action(0, slot=self.slot, feed=Feed.WALK))
        self.automaton.on(space, OWS, space)
        self.automaton.on(space, b",", with_comma)
        self.automaton.on(space, CR, end)
        return with_comma, space, end

    def _named(self, name: str) -> str:
        return f"{self.name}: {name}"

    def _made(self, name: str, word: int) -> str:
        return self.lines.value_state(self._named(name), word)

    def _start(self, text: str, cr: str, *, factor: int = 1, mark: int = 0) -> str:
        """The state behind the colon and that of white space before the value."""
        begin = Feed.BEGIN | Feed.KEEP
        word = action(self.present, Count.FIELDS, self.slot, begin, factor=factor, mark=mark)
        start, lead = self._made("start", word), self._made("lead", action())
        for each in (start, lead):
            self.automaton.on(each, TEXT, text)
            self.automaton.on(each, OWS, lead)
            self.automaton.on(each, CR, cr)
        return start

    def _text_and_gap(self, name: str, flag: int = 0) -> tuple[str, str]:
        text = self._made(name, action(flag, slot=self.slot, feed=_INSIDE))
        gap = self._made(f"{name} gap", action(flag, slot=self.slot, feed=Feed.WALK))
        for each in (text, gap):
            self.automaton.on(each, TEXT, text)
            self.automaton.on(each, OWS, gap)
        return text, gap

    def _bad(self) -> tuple[str, str]:
        """Where the rest of a bad value is read, and the end of a line that ends a bad value."""
        bad, _ = self._text_and_gap("bad", self.fault)
        end = self.lines.end_of_line(self._named("bad cr"), LINE, action(self.fault))
        return bad, end

    def _inside(self, name: str, word: int | None = None) -> str:
        """A state inside a value that must go on in a certain way, and may not end yet."""
        if word is None:
            word = action(0, slot=self.slot, feed=_INSIDE)
        state = self._made(name, word)
        self.automaton.on(state, TEXT, self._named("bad"))
        self.automaton.on(state, OWS, self._named("bad gap"))
        self.automaton.on(state, CR, self._named("bad cr"))
        return state

    def _may_end(self, state: str) -> None:
        """Let the value end in ``state``, followed by nothing but white space."""
        trail = self._named(f"behind {state}")
        self.lines.value_state(trail, action(0, slot=self.slot, feed=Feed.WALK))
        self.automaton.on(trail, TEXT, self._named("bad"))
        for each in (state, trail):
            self.automaton.on(each, OWS, trail)
            self.automaton.on(each, CR, VALUE_CR)

    def _port(self) -> str:
        """At most 65535 and without leading zeros; the state behind the colon."""
        colon = self._inside(":")
        tight = [colon] + [
            self._inside(f"port {size} digits of the largest") for size in (1, 2, 3, 4, 5)
        ]
        free = [self._inside(f"port and {left} digits") for left in range(5)]
        for left in range(1, 5):
            self.automaton.on(free[left], DIGITS, free[left - 1])
        for size, state in enumerate(tight[:5]):
            largest = _LARGEST_PORT[size]
            for digit in DIGITS:
                if digit == largest:
                    target = tight[size + 1]
                elif digit == DIGITS[0] and size == 0:
                    target = free[0]
                elif digit < largest:
                    target = free[4 - size]
                elif size < 4:
                    target = free[3 - size]
                else:
                    target = self._named("bad")
                self.automaton.on(state, (digit,), target)
        for state in (*tight[1:], *free):
            self._may_end(state)
        return colon

    def _literal(self) -> str:
        """An IPv6 address in brackets; the state behind the opening one.

        The groups are counted and the rest is checked: eight of them without ``::``, at most
        seven with one. An IPv4 address at the end is seen and not read.
        """
        group = action(0, Count.HOST, self.slot, _INSIDE)
        dotted, _ = self._text_and_gap("dotted", Flag.DOTTED_LITERAL)
        opened, first, double = self._inside("["), self._inside("[:"), self._inside("::")
        self.automaton.on(opened, b":", first)
        for colon in (first, self._groups("", opened, dotted, group, Flag.LITERAL)):
            self.automaton.on(colon, b":", double)
        self._groups("short ", double, dotted, group, Flag.SHORT_LITERAL)
        self.automaton.on(double, b"]", self._named("short ]"))
        return opened

    def _groups(self, kind: str, before: str, dotted: str, first: int, flag: Flag) -> str:
        """Groups of up to four digits; returns the state behind a colon between two."""
        colon = self._inside(f"{kind}colon")
        end = self._inside(f"{kind}]", action(flag, slot=self.slot, feed=_INSIDE))
        states = [
            self._inside(f"{kind}group of {size}", first if size == 1 else None)
            for size in (1, 2, 3, 4)
        ]
        for each in (before, colon):
            self.automaton.on(each, HEX, states[0])
        for each, following in pairwise(states):
            self.automaton.on(each, HEX, following)
        for each in states:
            self.automaton.on(each, b":", colon)
            self.automaton.on(each, b"]", end)
            self.automaton.on(each, b".", dotted)
        return colon
