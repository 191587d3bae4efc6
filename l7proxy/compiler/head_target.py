"""The rest of a request line, behind its method: target and version.

Of a target in origin form it is told whether its path is the one spelling that
``l7proxy.http.normalize`` gives, and if not, what is found in it. Of one in absolute form it is
told that it is one.
"""

from __future__ import annotations

from l7proxy.compiler.head_actions import Count, Feed, Flag, Mark, Slot, action
from l7proxy.compiler.head_automaton import bytes_of, either_case
from l7proxy.compiler.head_lines import CR, DIGITS, HEX, LINE, Lines
from l7proxy.http.grammar import TARGET_BYTE
from l7proxy.reasons import Reason

_TARGET = bytes_of(TARGET_BYTE)
_ABSOLUTE = b"http://"
_VERSION = b"HTTP/"
_UNRESERVED = bytes_of(rb"[A-Za-z0-9\-._~]")
_IN_LINE = action(0, Count.TARGET, Slot.METHOD_AND_PATH, Feed.WALK | Feed.KEEP)


def add_version(lines: Lines) -> None:
    """From the space behind the target to LINE."""
    automaton = lines.automaton

    def state(name: str, word: int = action()) -> str:
        automaton.state(name, lines.fault(Reason.BAD_REQUEST_LINE), word)
        return lines.broken(name, Reason.BAD_REQUEST_LINE)

    lines.end_of_line("request line cr", LINE)
    state("version minor")
    automaton.on("version minor", CR, "request line cr")
    automaton.like("version minor 0", "version minor", action(Flag.HTTP10))
    for name, known in (("version .", True), ("version other .", False)):
        state(name)
        automaton.on(name, DIGITS, lines.fault(Reason.BAD_VERSION))
        if known:
            automaton.on(name, b"0", "version minor 0")
            automaton.on(name, b"1", "version minor")
    for name, dot in (("version 1", "version ."), ("version other", "version other .")):
        automaton.on(state(name), b".", dot)
    state("version HTTP/")
    automaton.on("version HTTP/", DIGITS, "version other")
    automaton.on("version HTTP/", b"1", "version 1")
    automaton.like("preface HTTP/", "version HTTP/")
    automaton.on("preface HTTP/", b"2", lines.fault(Reason.NOT_HTTP))
    behind_target = action(mark=Mark.TARGET_END)
    for kind in ("version", "preface"):
        for size in range(len(_VERSION) - 1, -1, -1):
            name = f"{kind} {_VERSION[:size].decode()}".rstrip()
            state(name, action() if size else behind_target)
            automaton.on(name, _VERSION[size : size + 1], f"{kind} {_VERSION[: size + 1].decode()}")
    for flag in (Flag.BAD_TARGET, Flag.BAD_ENCODING, Flag.NOT_NORMAL):
        word = action(flag, mark=Mark.TARGET_END)
        automaton.like(f"version after {flag.name}", "version", word)


def add_targets(lines: Lines) -> None:
    """From the space behind the method to the one behind the target.

    RFC 9112 3.2: of the four forms, authority-form belongs to CONNECT and is not read.
    """
    automaton = lines.automaton

    def state(name: str, behind: str = "version", flag: int = 0) -> str:
        """A state inside a target that ends with a space."""
        automaton.state(name, lines.fault(Reason.BAD_TARGET), _IN_LINE | action(flag))
        lines.broken(name, Reason.BAD_REQUEST_LINE)
        automaton.on(name, b" ", behind)
        return name

    bad = state("target bad", flag=Flag.BAD_TARGET)
    automaton.on(bad, _TARGET, bad)
    absolute = state("target absolute", flag=Flag.ABSOLUTE)
    automaton.on(absolute, _TARGET, absolute)
    behind_bad = f"version after {Flag.BAD_TARGET.name}"
    following = absolute
    for size in range(len(_ABSOLUTE) - 1, 0, -1):
        name = state(f"target {_ABSOLUTE[:size].decode()}", behind_bad)
        automaton.on(name, _TARGET, bad)
        automaton.on(name, either_case(_ABSOLUTE[size]), following)
        following = name
    asterisk = state("target *", flag=Flag.ASTERISK)
    automaton.on(asterisk, _TARGET, bad)
    automaton.like("preface *", asterisk, _IN_LINE | action(Flag.ASTERISK))
    automaton.on("preface *", b" ", "preface")
    _add_paths(lines)
    automaton.state(
        "target",
        lines.fault(Reason.BAD_TARGET),
        action(0, None, Slot.METHOD_AND_PATH, Feed.WALK, mark=Mark.METHOD_END),
    )
    lines.broken("target", Reason.BAD_REQUEST_LINE)
    automaton.on("target", b" ", lines.fault(Reason.BAD_REQUEST_LINE))
    automaton.on("target", _TARGET, bad)
    automaton.on("target", b"/", "path /")
    automaton.on("target", b"*", asterisk)
    automaton.on("target", either_case(_ABSOLUTE[0]), following)


def _add_paths(lines: Lines) -> None:
    """Origin-form, with what ``l7proxy.http.normalize`` would change in the path.

    A state is added for each flag that a byte may raise; it leads where the unflagged one does.
    """
    automaton = lines.automaton

    def state(name: str, text: str, flag: int = 0, word: int = _IN_LINE) -> str:
        automaton.state(name, lines.fault(Reason.BAD_TARGET), word | action(flag))
        lines.broken(name, Reason.BAD_REQUEST_LINE)
        automaton.on(name, _TARGET, text)
        automaton.on(name, b" ", "version")
        return name

    def flagged(name: str, flag: Flag) -> str:
        return automaton.like(f"{name} after {flag.name}", name, _IN_LINE | action(flag))

    rest, segment = state("query", "query"), state("path", "path")
    slash, dot, dots = (state(f"path {end}", segment) for end in ("/", "/.", "/.."))
    percent = state("path %", "query after BAD_ENCODING")
    for name in (segment, slash, dot, dots):
        automaton.on(name, b"?", rest)
        automaton.on(name, b"/", slash)
        automaton.on(name, b"%", percent)
    automaton.on(slash, b".", dot)
    automaton.on(dot, b".", dots)
    automaton.on(slash, b"/", "path / after NOT_NORMAL")
    for name in (dot, dots):
        automaton.on(name, b"/", "path / after NOT_NORMAL")
        automaton.on(name, b"?", "query after NOT_NORMAL")
        automaton.on(name, b" ", f"version after {Flag.NOT_NORMAL.name}")
    for name in (rest, segment, slash):
        flagged(name, Flag.NOT_NORMAL)
    flagged(segment, Flag.ESCAPED_SLASH)
    flagged(rest, Flag.BAD_ENCODING)
    behind_bad = f"version after {Flag.BAD_ENCODING.name}"
    automaton.on(percent, b" ", behind_bad)
    highs = {high: f"path %{chr(high)}" for high in b"0123456789abcdef"}
    for high, name in highs.items():
        _second_digits(lines, name, high)
    for high, name in highs.items():
        automaton.on(percent, either_case(high), name)


def _second_digits(lines: Lines, name: str, high: int) -> None:
    """The state behind ``%`` and the digit ``high``."""
    automaton = lines.automaton
    automaton.like(name, "path %", _IN_LINE)
    for low in HEX:
        byte = int(chr(high) + chr(low), 16)
        if byte in _UNRESERVED:
            target = "path after NOT_NORMAL"
        elif byte in b"/\\":
            target = "path after ESCAPED_SLASH"
        elif byte == 0:
            target = "query after BAD_ENCODING"
        else:
            target = "path"
        automaton.on(name, (low,), target)
