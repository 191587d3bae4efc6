"""What h11 and llhttp read in a request that is allowed: the same as we do."""

from __future__ import annotations

import re

from tests.http.others import request_by_h11, request_by_llhttp
from tests.http.reading import read_request
from tests.http.test_differential import LLHTTP_METHODS, assert_same, confuses_llhttp
from tests.kernel.differences import Difference

_TAB_BEHIND_CODING = re.compile(rb"\r\ntransfer-encoding:[^\r]*\t[ \t]*\r\n", re.IGNORECASE)


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
    head = message[: message.index(b"\r\n\r\n") + 2]
    if _TAB_BEHIND_CODING.search(head):
        assert request_by_llhttp(message) is None
        return Difference.LLHTTP_TAB
    assert_same(reading, request_by_llhttp(message))
    assert request_by_llhttp(message[:-1]) is None
    return None
