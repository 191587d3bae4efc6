"""The bytes that a value can hold once ``l7proxy.http`` has accepted the request it is part of."""

from __future__ import annotations

import re

from l7proxy.http.grammar import TARGET_BYTE, TCHAR


def _mask(expression: bytes) -> int:
    matches = re.compile(expression, re.DOTALL).fullmatch
    return sum(1 << byte for byte in range(256) if matches(bytes((byte,))))


METHOD = _mask(TCHAR)
PATH = _mask(TARGET_BYTE)
# ``http.authority`` accepts letters, digits, "-._~" and the brackets and colons of addresses and
# ports; a policy sees the letters in lower case.
HOST = _mask(rb"[a-z0-9\-._~\[\]:]")
HEADER = _mask(rb"[\s\S]")


def is_made_of(value: bytes, alphabet: int) -> bool:
    return all(alphabet >> byte & 1 for byte in value)
