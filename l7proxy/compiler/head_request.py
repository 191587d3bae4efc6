"""The automaton of requests: heads as ``l7proxy.http`` accepts them, and chunked content.

Three things are recognised that ``l7proxy.http`` would work on, and that this automaton cannot:
a path that is not normal, a target in absolute form, and a Connection that names a watched field.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from l7proxy.compiler.errors import Unsupported
from l7proxy.compiler.head_actions import (
    MAX_WATCHED,
    METHODS,
    Feed,
    Flag,
    Mark,
    Slot,
    action,
)
from l7proxy.compiler.head_automaton import (
    Automaton,
    Grammar,
    Pause,
)
from l7proxy.compiler.head_lines import (
    CR,
    LF,
    TOKEN,
    Lines,
)
from l7proxy.compiler.head_target import add_targets, add_version
from l7proxy.compiler.head_values import Value
from l7proxy.http.body import FORBIDDEN_TRAILERS
from l7proxy.http.connection import HOP_BY_HOP, PROTECTED, UPGRADABLE
from l7proxy.reasons import Reason

# The reasons that a single byte can be refused for, and what else stops the walk.
STOPS = (
    Pause.HEAD_END,
    Pause.CHUNK_LINE,
    Reason.BAD_REQUEST_LINE,
    Reason.BAD_TARGET,
    Reason.BAD_LINE_END,
    Reason.BAD_HEADER_NAME,
    Reason.BAD_HEADER_VALUE,
    Reason.LINE_FOLDING,
    Reason.NOT_HTTP,
    Reason.BAD_VERSION,
    Reason.BAD_CHUNK,
)

_METHODS = {flag.name.encode(): flag for flag in METHODS}


@lru_cache(maxsize=64)
def request_grammar(watched: tuple[bytes, ...] = ()) -> Grammar:
    """The grammar of requests of which the fields ``watched`` (lower-case) are read by tables.

    Raises Unsupported for more than MAX_WATCHED, and for Host, which is read as the host; TooLarge
    for names that are very long together.
    """
    if len(watched) > MAX_WATCHED:
        raise Unsupported(f"rules look at {len(watched)} headers, the limit is {MAX_WATCHED}")
    if b"host" in watched:
        raise Unsupported("a rule looks at Host as a header, not as the host")
    automaton = Automaton(STOPS)
    lines = Lines(automaton, upstream=False)
    add_version(lines)
    add_targets(lines)
    _add_methods(lines)
    starts, present = _values(lines, watched)
    flags = dict(zip(watched, present, strict=True))
    forbidden = sum(1 << flag for name, flag in flags.items() if name in FORBIDDEN_TRAILERS)
    for flag in (Flag.HOST, *_SPECIAL.values(), Flag.FORBIDDEN):
        forbidden |= 1 << flag
    return Grammar(lines.finish(starts), watched, present, forbidden)


_SPECIAL = {
    b"content-length": Flag.LENGTH,
    b"transfer-encoding": Flag.CODING,
    b"connection": Flag.CONNECTION,
    b"upgrade": Flag.UPGRADE,
    b"expect": Flag.EXPECT,
}


def _values(lines: Lines, watched: Sequence[bytes]) -> tuple[dict[bytes, str], tuple[int, ...]]:
    """The state behind the colon of each field that is known, and the flags of the watched."""
    slots = {name: Slot.HEADER + number for number, name in enumerate(watched)}
    starts = dict.fromkeys(sorted(FORBIDDEN_TRAILERS), "value start forbidden")
    present = []
    for number, name in enumerate(watched):
        flag = _SPECIAL.get(name, Flag.WATCHED + number)
        present.append(int(flag))
        if name not in _SPECIAL:
            starts[name] = Value(lines, name.decode(), flag, slot=slots[name]).plain()

    def value(name: bytes, fault: int = 0) -> Value:
        slot = slots.get(name, 0)
        return Value(lines, name.decode(), _SPECIAL[name], slot=slot, fault=fault)

    starts[b"host"] = Value(lines, "host", Flag.HOST, slot=Slot.HOST, fault=Flag.BAD_HOST).host()
    starts[b"content-length"] = value(b"content-length", Flag.BAD_LENGTH).number()
    starts[b"transfer-encoding"] = value(b"transfer-encoding", Flag.BAD_CODING).exactly(b"chunked")
    starts[b"expect"] = value(b"expect", Flag.BAD_EXPECT).exactly(b"100-continue")
    starts[b"upgrade"] = value(b"upgrade").options(
        dict.fromkeys(sorted(UPGRADABLE), Flag.WEBSOCKET), strict=False
    )
    starts[b"connection"] = value(b"connection", Flag.BAD_OPTION).options(
        connection_options(watched), strict=True
    )
    return starts, tuple(present)


def connection_options(watched: Sequence[bytes]) -> dict[bytes, int]:
    """What the options of a request's Connection mean; others mean nothing.

    A field that Connection names is not there for the rules (RFC 9110 7.6.1), but its server
    would see it: NAMES_WATCHED for each that somebody looks at.
    """
    found: dict[bytes, int] = dict.fromkeys(sorted({*watched, b"expect"}), Flag.NAMES_WATCHED)
    for name in sorted(HOP_BY_HOP):
        found.pop(name, None)
    found |= dict.fromkeys(sorted(PROTECTED), Flag.BAD_OPTION)
    found[b"close"] = Flag.CLOSE
    found[b"keep-alive"] = Flag.KEEP_ALIVE
    found[b"upgrade"] = Flag.UPGRADE_OPTION
    return found


def _add_methods(lines: Lines) -> None:
    """From the first byte of a request to the space behind the method."""
    automaton = lines.automaton
    word = action(0, None, Slot.METHOD_AND_PATH, Feed.WALK | Feed.KEEP)
    behind = action(0, None, Slot.METHOD_AND_PATH, Feed.WALK, mark=Mark.METHOD_END)
    automaton.state("method", lines.fault(Reason.BAD_REQUEST_LINE), word)
    lines.broken("method", Reason.BAD_REQUEST_LINE)
    automaton.on("method", TOKEN, "method")
    automaton.on("method", b" ", "target")
    states = lines.spell("method", (*_METHODS, b"PRI"), "method", word, fold=False)
    for name, flag in _METHODS.items():
        target = automaton.like(f"target of {name.decode()}", "target", behind | action(flag))
        automaton.on(states[name], b" ", target)
    automaton.like("target of PRI", "target", behind)
    automaton.on("target of PRI", b"*", "preface *")
    automaton.on(states[b"PRI"], b" ", "target of PRI")
    automaton.state("message", lines.fault(Reason.BAD_REQUEST_LINE))
    automaton.on("message", [*range(0x20), *range(0x7F, 0x100)], lines.fault(Reason.NOT_HTTP))
    automaton.on("message", LF, lines.fault(Reason.BAD_LINE_END))
    automaton.on("message", TOKEN, "method")
    lines.begin("message", states, fold=False)
    automaton.like("message behind an empty line", "message", action(Flag.EMPTY_LINE))
    automaton.on("message behind an empty line", CR, lines.fault(Reason.BAD_REQUEST_LINE))
    lines.end_of_line("message cr", "message behind an empty line")
    automaton.on("message", CR, "message cr")
