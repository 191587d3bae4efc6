"""What a head means once its last byte has been walked over.

The faults are looked at in the order of ``l7proxy.http.request.parse_request``, so that of
several the same one is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from l7proxy.compiler.head_actions import Count, Flag, Mark
from l7proxy.compiler.head_automaton import Grammar
from l7proxy.compiler.head_walk import WalkState
from l7proxy.http.framing import CHUNKED, UNTIL_CLOSE, RequestFraming, ResponseFraming
from l7proxy.limits import Limits
from l7proxy.reasons import Reason

_HOST_NAME_BYTES = 255
_IPV6_GROUPS = 8
_LENGTH_DIGITS = 18


class Undecided(Enum):
    """Why a request that ``l7proxy.http`` may accept cannot be judged here. It is never passed."""

    PATH_NOT_NORMAL = "the path is not normal"
    ABSOLUTE_FORM = "the target is in absolute form"
    DOTTED_LITERAL = "the host is an IPv6 address with an IPv4 address inside"
    NAMES_WATCHED = "Connection names a field that rules look at, or Expect"
    REPEATED = "a header that rules look at is repeated"
    LARGE_CHUNK = "a chunk of 2**63 bytes or more"


_REFUSALS: dict[Reason | Undecided, Reason] = {
    Undecided.PATH_NOT_NORMAL: Reason.PATH_NOT_NORMAL,
    Undecided.ABSOLUTE_FORM: Reason.ABSOLUTE_FORM,
    Undecided.DOTTED_LITERAL: Reason.BAD_HOST,
    Undecided.NAMES_WATCHED: Reason.UNDECIDABLE_HEADER,
    Undecided.REPEATED: Reason.UNDECIDABLE_HEADER,
    Undecided.LARGE_CHUNK: Reason.BAD_CHUNK,
    Reason.ESCAPED_SLASH: Reason.PATH_NOT_NORMAL,  # nobody is redirected here
}


def refusal(cause: Reason | Undecided) -> Reason:
    """What the kernel answers to a request that it stopped at for ``cause``."""
    known = _REFUSALS.get(cause)
    if known is not None:
        return known
    assert isinstance(cause, Reason), "every Undecided has a reason"
    return cause


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request head that has been accepted, for the same meaning as that of ``http.Request``.

    start, size: its place in the stream and its bytes. method, target: (first, behind last),
    counted from ``start``. present: for each watched header whether it is there. matched: the bit
    set of the rules that the request satisfies in every field, 0 where no tables were given.
    """

    start: int
    size: int
    method: tuple[int, int]
    target: tuple[int, int]
    minor_version: int
    framing: RequestFraming
    keep_alive: bool
    expects_continue: bool
    upgrade: bool
    is_head: bool
    present: tuple[bool, ...]
    matched: int = 0


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response head; ``upgrade``: a 101 to what was offered. See ``http.Response``."""

    start: int
    size: int
    status: int
    minor_version: int
    framing: ResponseFraming
    keep_alive: bool
    upgrade: bool

    @property
    def informational(self) -> bool:
        return self.status < 200 and self.status != 101


def request_meaning(
    grammar: Grammar, state: WalkState, limits: Limits, start: int
) -> RequestHead | Reason | Undecided:
    """The meaning of a request head that ``state`` has come to the end of."""
    if state.count(Count.FIELDS) > limits.head_fields:
        return Reason.HEAD_TOO_LARGE
    fault = _target_fault(state) or _host_fault(state)
    if fault is not None:
        return fault
    framing = _framing(state)
    if isinstance(framing, Reason):
        return framing
    if state.has(Flag.BAD_OPTION):
        return Reason.BAD_HEADER_VALUE
    if state.has(Flag.ESCAPED_SLASH):
        return Reason.ESCAPED_SLASH
    if state.has(Flag.NOT_NORMAL):
        return Undecided.PATH_NOT_NORMAL
    if state.has(Flag.NAMES_WATCHED):
        return Undecided.NAMES_WATCHED
    if any(state.repeats(flag) for flag in grammar.present):
        return Undecided.REPEATED
    current = not state.has(Flag.HTTP10)
    upgrade = (
        state.has(Flag.UPGRADE_OPTION) and current and not framing and state.has(Flag.WEBSOCKET)
    )
    expects = (
        state.has(Flag.EXPECT)
        and not state.has(Flag.BAD_EXPECT)
        and not state.repeats(Flag.EXPECT)
        and current
        and framing is not None
        and framing != 0
    )
    present = tuple(
        state.has(flag) and (flag != Flag.UPGRADE or upgrade) for flag in grammar.present
    )
    first = 2 if state.has(Flag.EMPTY_LINE) else 0
    method_end = state.marks[Mark.METHOD_END]
    return RequestHead(
        start,
        state.offset,
        (first, method_end),
        (method_end + 1, state.marks[Mark.TARGET_END]),
        int(current),
        framing,
        _keeps_alive(state),
        expects,
        upgrade,
        state.has(Flag.HEAD),
        present,
    )


def response_meaning(
    state: WalkState, limits: Limits, start: int, status: int, *, to_head: bool, offered: bool
) -> ResponseHead | Reason:
    """The meaning of a response to a request that was HEAD (``to_head``), or offered an upgrade.

    ``status``: the number that its status line gave.
    """
    framing: ResponseFraming | Reason = _framing(state)
    if isinstance(framing, Reason) or state.count(Count.FIELDS) > limits.head_fields:
        return Reason.UPSTREAM_NOT_HTTP
    keep_alive, upgrade = _keeps_alive(state), False
    if to_head or status < 200 or status in (204, 304):
        framing = None
        if status == 101:
            if not (offered and state.has(Flag.WEBSOCKET)):
                return Reason.UPSTREAM_NOT_HTTP
            keep_alive, upgrade = False, True
    elif framing is None:
        framing, keep_alive = UNTIL_CLOSE, False
    minor_version = 0 if state.has(Flag.HTTP10) else 1
    return ResponseHead(start, state.offset, status, minor_version, framing, keep_alive, upgrade)


def _target_fault(state: WalkState) -> Reason | Undecided | None:
    if state.has(Flag.CONNECT):
        return Reason.METHOD_CONNECT
    if state.has(Flag.BAD_TARGET) or (state.has(Flag.ASTERISK) and not state.has(Flag.OPTIONS)):
        return Reason.BAD_TARGET
    if state.has(Flag.BAD_ENCODING):
        return Reason.BAD_PATH_ENCODING
    return Undecided.ABSOLUTE_FORM if state.has(Flag.ABSOLUTE) else None


def _host_fault(state: WalkState) -> Reason | Undecided | None:
    if not state.has(Flag.HOST):
        return None if state.has(Flag.HTTP10) else Reason.BAD_HOST
    if state.repeats(Flag.HOST) or state.has(Flag.BAD_HOST):
        return Reason.BAD_HOST
    if state.has(Flag.DOTTED_LITERAL):
        return Undecided.DOTTED_LITERAL
    size = state.count(Count.HOST)
    if state.has(Flag.LITERAL):
        right = size == _IPV6_GROUPS
    elif state.has(Flag.SHORT_LITERAL):
        right = size < _IPV6_GROUPS
    else:
        right = size <= _HOST_NAME_BYTES
    return None if right else Reason.BAD_HOST


def _framing(state: WalkState) -> RequestFraming | Reason:
    if state.has(Flag.CODING):
        if state.has(Flag.LENGTH):
            return Reason.LENGTH_AND_CODING
        if state.has(Flag.HTTP10):
            return Reason.CODING_ON_HTTP10
        if state.has(Flag.BAD_CODING) or state.repeats(Flag.CODING):
            return Reason.BAD_CODING
        return CHUNKED
    if not state.has(Flag.LENGTH):
        return None
    if (
        state.has(Flag.BAD_LENGTH)
        or state.repeats(Flag.LENGTH)
        or state.count(Count.DIGITS) > _LENGTH_DIGITS
    ):
        return Reason.BAD_CONTENT_LENGTH
    return state.number


def _keeps_alive(state: WalkState) -> bool:
    if state.has(Flag.CLOSE):
        return False
    return state.has(Flag.KEEP_ALIVE) or not state.has(Flag.HTTP10)
