"""Moments as Hubble reads and writes them; a moment is nanoseconds since the epoch, in UTC."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

_SECOND = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?)?(Z|[+-]\d\d:\d\d))?",
    re.ASCII,
)
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_DURATION = re.compile(rf"[+-]?(?:0|(?:{_PART.pattern})+)", re.ASCII)
_UNITS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6,
    "s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND,
}  # fmt: skip


def parse(text: str) -> int:
    """RFC 3339 with any precision down to the day. Raises ValueError."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a time")
    *parts, fraction, zone = found.groups(default="")
    year, month, day, hour, minute, second = (int(part or 0) for part in parts)
    moment = datetime(year, month, day, hour, minute, tzinfo=UTC)
    if second > 60:
        raise ValueError(f"{text!r} is not a time")
    seconds = (moment - _EPOCH) // timedelta(seconds=1) + second
    if zone and zone != "Z":
        offset = int(zone[1:3]) * 3600 + int(zone[4:]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    return seconds * _SECOND + int(fraction.ljust(9, "0"))


def duration(text: str) -> int:
    """Nanoseconds, of a duration as Go writes them (``250ms``, ``1m30s``). Raises ValueError."""
    if not _DURATION.fullmatch(text) or text.startswith("-"):
        raise ValueError(f"{text!r} is not a duration (250ms, 1.5s)")
    return round(sum(float(part) * _UNITS[unit] for part, unit in _PART.findall(text)))


def ago(text: str, now: int) -> int:
    """What ``--since`` and ``--until`` take: a duration before ``now`` as Go writes them (``3s``,
    ``1h43m``), or a time as ``parse`` and RFC 1123 have it. Raises ValueError."""
    if _DURATION.fullmatch(text):
        length = sum(float(part) * _UNITS[unit] for part, unit in _PART.findall(text))
        return now + round(length) if text.startswith("-") else now - round(length)
    try:
        if "," in text:
            return (parsedate_to_datetime(text) - _EPOCH) // timedelta(seconds=1) * _SECOND
        return parse(text)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            f"{text!r} is neither a duration (5m, 1h30m) nor a time (2026-11-26T07:00:00Z)"
        ) from None


def _rfc3339(moment: datetime, fraction: str) -> str:
    dot = "." if fraction else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{dot}{fraction}Z"


FORMATS: Mapping[str, Callable[[datetime, int], str]] = {
    "StampMilli": lambda at, ns: f"{at:%b} {at.day:2} {at:%H:%M:%S}.{ns // 10**6:03}",
    "YearMonthDay": lambda at, ns: f"{at:%Y-%m-%d}",
    "YearMonthDayHour": lambda at, ns: f"{at:%Y-%m-%dT%H}Z",
    "YearMonthDayHourMinute": lambda at, ns: f"{at:%Y-%m-%dT%H:%M}Z",
    "RFC3339": lambda at, ns: _rfc3339(at, ""),
    "RFC3339Milli": lambda at, ns: _rfc3339(at, f"{ns // 10**6:03}".rstrip("0")),
    "RFC3339Micro": lambda at, ns: _rfc3339(at, f"{ns // 10**3:06}".rstrip("0")),
    "RFC3339Nano": lambda at, ns: _rfc3339(at, f"{ns:09}".rstrip("0")),
    "RFC1123Z": lambda at, ns: format_datetime(at),
}
"""Hubble's ``--time-format``: from a time and the nanoseconds behind its second."""


def shown(moment: int | None, form: str) -> str:
    """A moment in one of ``FORMATS``; ``N/A`` for none, and for one outside the calendar."""
    if moment is None:
        return "N/A"
    seconds, nanoseconds = divmod(moment, _SECOND)
    try:
        return FORMATS[form](_EPOCH + timedelta(seconds=seconds), nanoseconds)
    except OverflowError:
        return "N/A"
