"""Following one direction of a connection: heads, content and trailers, message after message.

A machine is fed what was sent, in any pieces, and tells what it found. It never looks back at a
byte, and what it keeps between two pieces has a fixed size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum

from l7proxy.compiler.head_actions import Count
from l7proxy.compiler.head_automaton import Entry, Grammar, Pause, Stop
from l7proxy.compiler.head_meaning import (
    RequestHead,
    ResponseHead,
    Undecided,
)
from l7proxy.compiler.head_walk import FieldBank, WalkState, walk
from l7proxy.http.framing import CHUNKED, UNTIL_CLOSE, ResponseFraming
from l7proxy.limits import Limits
from l7proxy.reasons import Reason

_CHUNK_DIGITS = 16
_LARGEST_SECTION = 60_000  # below what 16 bits count


@dataclass(frozen=True, slots=True)
class Content:
    """``size`` bytes of content went by, chunk lines not counted."""

    size: int


@dataclass(frozen=True, slots=True)
class MessageEnd:
    """The last byte of a message went by, content and trailers included."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing more is read. ``cause``: why what came is refused, or cannot be judged. ``at``: the
    place in the stream behind the last byte that was looked at."""

    cause: Reason | Undecided
    at: int


Event = RequestHead | ResponseHead | Content | MessageEnd | Stopped


class Phase(IntEnum):
    """What comes next: a head, content of a known length, chunk lines, trailers; nothing before
    the answer to an upgrade (HELD); whatever comes, until the connection ends (PASSING)."""

    HEAD = 0
    LENGTH = 1
    CHUNKS = 2
    TRAILERS = 3
    HELD = 4
    PASSING = 5
    STOPPED = 6


def unfollowed(limits: Limits) -> str | None:
    """Why heads within ``limits`` cannot be followed; None where they can."""
    for name in ("head_bytes", "trailer_bytes", "chunk_line_bytes"):
        if getattr(limits, name) > _LARGEST_SECTION:
            return f"limits.{name} is over {_LARGEST_SECTION}, which is the most that is counted"
    return None


class Machine(ABC):
    """What both directions have in common."""

    def __init__(self, grammar: Grammar, bank: FieldBank, limits: Limits) -> None:
        """Raises ValueError where a limit is more than 16-bit counters hold."""
        lacking = unfollowed(limits)
        if lacking is not None:
            raise ValueError(lacking)
        self.grammar = grammar
        self.table = grammar.table
        self.limits = limits
        self.bank = bank
        self.state = WalkState()
        self.phase = Phase.HEAD
        self.skip = 0
        self.budget = 0
        self.position = 0
        self.message_start = 0
        self._events: list[Event] = []
        self._begin()

    def feed(self, data: bytes) -> list[Event]:
        """Follow ``data``; what was found in it, in order. After Stopped nothing is found."""
        self._events = []
        at, end = 0, len(data)
        first = self.position
        while at < end and self.phase is not Phase.STOPPED:
            if self.skip:
                size = min(self.skip, end - at)
                self.skip -= size
                at += size
                self.position = first + at
                self._events.append(Content(size))
                if self.skip == 0 and self.phase is Phase.LENGTH:
                    self._end()
            elif self.phase is Phase.PASSING:
                self._events.append(Content(end - at))
                at = end
            elif self.phase is Phase.HELD:
                self._stop(Reason.BYTES_BEFORE_UPGRADE)
            elif self.budget == 0 or not self._may_begin():
                self._stop(self._fault(Reason.HEAD_TOO_LARGE))
            else:
                upto = min(end, at + self.budget)
                used = walk(self.table, self.bank, self.state, data, at, upto) - at
                self.budget -= used
                at += used
                self.position = first + at
                self._judge(self.table.stop_at(self.state.row))
        self.position = first + at
        return self._events

    def _judge(self, stop: Stop | None) -> None:
        """After a walk: whether a limit was passed, and what its stop means."""
        state = self.state
        match self.phase:
            case Phase.HEAD:
                if state.count(Count.TARGET) > self.limits.target_bytes:
                    self._stop(Reason.TARGET_TOO_LONG)
                    return
            case Phase.CHUNKS:
                late = stop is None and self.budget == 0
                if late or state.count(Count.DIGITS) > _CHUNK_DIGITS:
                    self._stop(self._fault(Reason.BAD_CHUNK))
                    return
            case Phase.TRAILERS:
                late = stop is None and self.budget == 0
                many = stop is not None and state.count(Count.FIELDS) > self.limits.head_fields
                if late or many or state.flags & self.grammar.forbidden or isinstance(stop, Reason):
                    self._stop(self._fault(Reason.BAD_TRAILER))
                    return
        match stop:
            case Reason():
                self._stop(stop)
            case Pause.HEAD_END if self.phase is Phase.TRAILERS:
                self._end()
            case Pause.HEAD_END:
                self._head_end()
            case Pause.STATUS_LINE:
                self._status_line()
            case Pause.CHUNK_LINE:
                self._chunk_line(state.number)

    def _begin(self) -> None:
        self.phase = Phase.HEAD
        self.budget = self.limits.head_bytes
        self.message_start = self.position
        self.state.begin(self.table, self.bank)

    def _content(self, framing: ResponseFraming) -> None:
        """What follows a head of ``framing``."""
        if framing is CHUNKED:
            self.phase = Phase.CHUNKS
            self.budget = self.limits.chunk_line_bytes
            self.state.enter(self.table.entries[Entry.CHUNK_SIZE])
        elif framing is UNTIL_CLOSE:
            self.phase = Phase.PASSING
        elif isinstance(framing, int) and framing > 0:
            self.phase = Phase.LENGTH
            self.skip = framing
        else:
            self._end()

    def _chunk_line(self, size: int) -> None:
        if size >> 63:
            self._stop(Undecided.LARGE_CHUNK)
        elif size:
            self.skip = size
            self.budget = 2 + self.limits.chunk_line_bytes
            self.state.enter(self.table.entries[Entry.CHUNK_END])
        else:
            self.phase = Phase.TRAILERS
            self.budget = self.limits.trailer_bytes
            self.state.enter(self.table.entries[Entry.FIELDS])

    def _end(self) -> None:
        self._events.append(MessageEnd())
        self._begin()

    def _stop(self, cause: Reason | Undecided) -> None:
        self.phase = Phase.STOPPED
        self._events.append(Stopped(cause, self.position))

    def _fault(self, reason: Reason) -> Reason:
        return reason

    def _may_begin(self) -> bool:
        return True

    @abstractmethod
    def _head_end(self) -> None:
        """A head is complete: what it means for this side, and what follows it."""

    def _status_line(self) -> None:
        """A status line is complete."""
        raise AssertionError("the grammar of requests has no status line")
