"""The automaton of responses: what must be known of one to tell where the next begins."""

from __future__ import annotations

from functools import lru_cache

from l7proxy.compiler.head_actions import Flag, action
from l7proxy.compiler.head_automaton import Automaton, Grammar, Pause, at
from l7proxy.compiler.head_lines import (
    CR,
    DIGITS,
    OWS,
    TEXT,
    Lines,
)
from l7proxy.compiler.head_values import Value
from l7proxy.http.body import FORBIDDEN_TRAILERS
from l7proxy.http.connection import UPGRADABLE
from l7proxy.reasons import Reason

STOPS = (Pause.HEAD_END, Pause.CHUNK_LINE, Pause.STATUS_LINE, Reason.UPSTREAM_NOT_HTTP)

_VERSION = b"HTTP/1."


@lru_cache(maxsize=1)
def response_grammar() -> Grammar:
    """The grammar of responses, as ``l7proxy.http.response`` accepts them."""
    automaton = Automaton(STOPS)
    lines = Lines(automaton, upstream=True)
    _add_status_line(lines)
    starts = dict.fromkeys(sorted(FORBIDDEN_TRAILERS), "value start forbidden")
    length = Value(lines, "content-length", Flag.LENGTH, fault=Flag.BAD_LENGTH)
    coding = Value(lines, "transfer-encoding", Flag.CODING, fault=Flag.BAD_CODING)
    starts[b"content-length"] = length.number()
    starts[b"transfer-encoding"] = coding.exactly(b"chunked")
    starts[b"connection"] = Value(lines, "connection", Flag.CONNECTION).options(
        {b"close": Flag.CLOSE, b"keep-alive": Flag.KEEP_ALIVE}, strict=False
    )
    starts[b"upgrade"] = Value(lines, "upgrade", Flag.UPGRADE).options(
        dict.fromkeys(sorted(UPGRADABLE), Flag.WEBSOCKET), strict=False
    )
    flags = (Flag.LENGTH, Flag.CODING, Flag.CONNECTION, Flag.UPGRADE, Flag.FORBIDDEN)
    return Grammar(lines.finish(starts), (), (), sum(1 << flag for flag in flags))


def _add_status_line(lines: Lines) -> None:
    """RFC 9112 4: status-line = HTTP-version SP status-code SP [ reason-phrase ]; the space
    before an absent phrase may be missing. The code becomes the number."""
    automaton, fault = lines.automaton, lines.fault(Reason.BAD_REQUEST_LINE)
    lines.end_of_line("status line cr", at(Pause.STATUS_LINE))
    automaton.state("phrase", fault)
    automaton.on("phrase", TEXT | OWS, "phrase")
    automaton.on("phrase", CR, "status line cr")
    digit = action(factor=10, digit=True)
    automaton.state("status 3", fault, digit)
    automaton.on("status 3", b" ", "phrase")
    automaton.on("status 3", CR, "status line cr")
    for size, allowed in ((2, DIGITS), (1, DIGITS), (0, DIGITS[1:])):
        automaton.state(f"status {size}", fault, digit if size else action())
        automaton.on(f"status {size}", allowed, f"status {size + 1}")
    automaton.state("minor", fault)
    automaton.on("minor", b" ", "status 0")
    automaton.like("minor 0", "minor", action(Flag.HTTP10))
    following = automaton.state("version", fault)
    automaton.on("version", b"1", "minor")
    automaton.on("version", b"0", "minor 0")
    for size in range(len(_VERSION) - 1, -1, -1):
        name = f"version {_VERSION[:size].decode()}" if size else "message"
        automaton.state(name, fault)
        automaton.on(name, _VERSION[size : size + 1], following)
        following = name
