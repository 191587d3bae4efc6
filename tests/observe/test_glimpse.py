"""What is seen of a head that may be cut anywhere and may be no HTTP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7proxy.observe.glimpse import Glimpse, glimpse

FIELDS = b"Host: users\r\nContent-Length: 12\r\nX-Request-Id: 7\r\n"
HEAD = b"POST /a?b=c HTTP/1.1\r\n" + FIELDS + b"\r\nhost: x\r\n"


def test_a_whole_head() -> None:
    assert glimpse(HEAD) == Glimpse(b"POST", b"/a?b=c", b"users", b"7", 12)


@pytest.mark.parametrize("size", range(len(HEAD)))
def test_a_beginning_shows_no_more_than_there_is(size: int) -> None:
    found = glimpse(HEAD[:size])
    assert b"POST".startswith(found.method)
    assert b"/a?b=c".startswith(found.target)
    assert b"users".startswith(found.host)
    assert found.cut == (size <= len(b"POST /a?b=c"))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", Glimpse(cut=True)),
        (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Glimpse(b"GET", b"/")),
        (b"GET /\r\nHost: a\r\nHost: b\r\n\r\n", Glimpse(b"GET", b"/", b"a")),
        (b"GET / HTTP/1.1\nhOST:\tb \n\n", Glimpse(b"GET", b"/", b"b")),
        (b"PUT / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", Glimpse(b"PUT", b"/")),
        (b"PUT / HTTP/1.1\r\ncontent-length: " + b"9" * 400, Glimpse(b"PUT", b"/")),
        (b"\x16\x03\x01\x00", Glimpse(b"\x16\x03\x01\x00", cut=True)),
    ],
)
def test_odd_heads(head: bytes, expected: Glimpse) -> None:
    assert glimpse(head) == expected


@given(st.binary(max_size=600))
def test_any_bytes(head: bytes) -> None:
    glimpse(head)
