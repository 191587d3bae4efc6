"""Reads the corpus: the requests of ``corpus/*.md`` with what is expected of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from l7proxy.reasons import Reason

FOLDER = Path(__file__).with_name("corpus")

_SECTION = re.compile(r"^### (\S+)\n(.*?)(?=^### |\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_REPEAT = re.compile(r"\\repeat\{(\d+)\}\{([^}]*)\}")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))")
_SIMPLE = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}

_REFUSED_KEYS = {"status", "reason", "location"}
_ACCEPTED_KEYS = {
    "method",
    "path",
    "host",
    "framing",
    "body",
    "upgrade",
    "keep-alive",
    "expects-continue",
    "trailers",
}


@dataclass(frozen=True)
class Case:
    """One request: the whole of ``wire`` is sent. Refused if ``reason`` is set.

    ``accepted`` holds the keys of an accepted request, escapes undone; empty when refused.
    """

    name: str
    topic: str
    wire: bytes
    status: int | None
    reason: Reason | None
    location: bytes | None
    accepted: Mapping[str, bytes]

    @property
    def id(self) -> str:
        return f"{self.topic}/{self.name}"


def load_cases() -> list[Case]:
    """Every case of the corpus in order. Raises ValueError naming the case that is ill-written."""
    cases = [
        _read_case(path.stem, name, text)
        for path in sorted(FOLDER.glob("*.md"))
        if path.name != "README.md"
        for name, text in _SECTION.findall(path.read_text(encoding="utf-8"))
    ]
    ids = [case.id for case in cases]
    repeated = {case_id for case_id in ids if ids.count(case_id) > 1}
    if repeated:
        raise ValueError(f"cases of the same name: {sorted(repeated)}")
    return cases


def unescape(text: str) -> bytes:
    """The bytes that a text of the corpus stands for."""
    text = _REPEAT.sub(lambda match: match[2] * int(match[1]), text)
    return _ESCAPE.sub(_unescaped, text.encode("ascii"))


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode()) if match[1] else _SIMPLE[match[2]]


def _read_case(topic: str, name: str, text: str) -> Case:
    blocks = dict(_BLOCK.findall(text))
    if set(blocks) != {"http", "expect"}:
        raise ValueError(f"{topic}/{name}: needs one http and one expect block")
    expected = dict(_read_line(topic, name, line) for line in blocks["expect"].splitlines())
    wire = unescape(blocks["http"].replace("\n", ""))
    if "reason" not in expected:
        if not {"method", "path", "host", "framing"} <= set(expected) <= _ACCEPTED_KEYS:
            raise ValueError(f"{topic}/{name}: an accepted request expects {sorted(expected)}")
        accepted = {key: unescape(value) for key, value in expected.items()}
        return Case(name, topic, wire, None, None, None, accepted)
    reason = Reason(expected["reason"])
    if not set(expected) <= _REFUSED_KEYS or expected.get("status") != str(reason.status):
        raise ValueError(f"{topic}/{name}: a refused request expects {expected}")
    location = unescape(expected["location"]) if "location" in expected else None
    return Case(name, topic, wire, reason.status, reason, location, {})


def _read_line(topic: str, name: str, line: str) -> tuple[str, str]:
    key, colon, value = line.partition(":")
    if not colon:
        raise ValueError(f"{topic}/{name}: {line!r} is not key: value")
    return key, value.removeprefix(" ")
