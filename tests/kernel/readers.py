"""What h11 and llhttp read in a request that is allowed: the same as we do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from l7proxy.http.framing import CHUNKED
from l7proxy.http.grammar import TCHAR
from tests.http.others import request_by_h11, request_by_llhttp
from tests.http.reading import read_request
from tests.http.test_differential import LLHTTP_METHODS, assert_same, confuses_llhttp
from tests.kernel.differences import Difference

_TAB_BEHIND_CODING = re.compile(rb"\r\ntransfer-encoding:[^\r]*\t[ \t]*\r\n", re.IGNORECASE)

_PARAMETERS = re.compile(
    rb"(?:;" + TCHAR + rb"+(?:=(?:" + TCHAR + rb'*|"(?:[^"\\]|\\[^\x00])*"))?)*'
)


def read_alike(wire: bytes) -> Difference | None:
    """Holds other readers to ours, and sees that the request ends for them where it does for us.

    Raises AssertionError where they read another thing.
    """
    message = wire.removeprefix(b"\r\n")
    reading = read_request([wire])
    assert reading.rest == b""
    assert_same(reading, request_by_h11(message))
    assert request_by_h11(message[:-1]) is None
    if reading.request.method not in LLHTTP_METHODS or confuses_llhttp(reading):
        return None
    end = message.index(b"\r\n\r\n")
    head, content = message[: end + 2], message[end + 4 :]
    if _TAB_BEHIND_CODING.search(head):
        assert request_by_llhttp(message) is None
        return Difference.LLHTTP_TAB
    if reading.request.framing is CHUNKED and not all(
        map(_PARAMETERS.fullmatch, _extensions(content))
    ):
        assert request_by_llhttp(message) is None
        return Difference.LLHTTP_EXTENSION
    assert_same(reading, request_by_llhttp(message))
    assert request_by_llhttp(message[:-1]) is None
    return None


def _extensions(content: bytes) -> Iterator[bytes]:
    """Of well-formed chunks, what stands behind each size."""
    at, size = 0, -1
    while size:
        end = content.index(b"\r\n", at)
        digits, mark, rest = content[at:end].partition(b";")
        yield mark + rest
        size = int(digits, 16)
        at = end + 2 + size + 2
