"""RE2 patterns that must match a whole value, compiled once.

Values are bytes. RE2 reads pattern and value as UTF-8; a value that is not UTF-8 matches no
wildcard, which is why ``decide`` refuses such requests before asking any pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import re2

Matcher = Callable[[bytes], bool]

_META = frozenset("\\.+*?()|[]{}^$")

# Clients ask for the same few paths again and again, and a lookup costs a tenth of a match.
# Only short values are remembered, so that a pattern holds 32 KiB of them at most.
_REMEMBERED = 128
_REMEMBERED_BYTES = 256


def literals(pattern: str) -> tuple[bytes, ...] | None:
    """The values a pattern without operators matches (``GET``, ``^GET$``, ``GET|POST``).

    None where the pattern needs a regular expression engine.
    """
    branches = pattern.split("|")
    if len(branches) == 1:
        branches = [pattern.removeprefix("^").removesuffix("$")]
    if any(not _META.isdisjoint(branch) for branch in branches):
        return None
    return tuple(branch.encode() for branch in branches)


def check(pattern: str) -> None:
    """Raises ValueError, saying why, where ``pattern`` is not a valid RE2 expression."""
    _compile(pattern)


def finder(pattern: str) -> Matcher:
    """A function that tells whether ``pattern`` is found anywhere in a value. Raises ValueError as
    ``check``."""
    search = _compile(pattern).search
    return lambda value: search(value) is not None


@lru_cache(maxsize=4096)
def matcher(pattern: str) -> Matcher:
    """A function that tells whether a whole value matches. Raises ValueError as ``check``."""
    values = literals(pattern)
    if values is not None:
        return frozenset(values).__contains__
    fullmatch = _compile(pattern).fullmatch

    @lru_cache(maxsize=_REMEMBERED)
    def remembered(value: bytes) -> bool:
        return fullmatch(value) is not None

    def matches(value: bytes) -> bool:
        if len(value) <= _REMEMBERED_BYTES:
            return remembered(value)
        return fullmatch(value) is not None

    return matches


def _compile(pattern: str) -> re2._Regexp:
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except UnicodeEncodeError:
        raise ValueError("the pattern is not valid Unicode") from None
    except re2.error as error:
        detail = error.args[0] if error.args else "not a regular expression"
        text = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
        raise ValueError(f"not a regular expression that RE2 accepts: {text}") from None
