"""A response is the same for the client in whatever pieces it came."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7proxy.http.refused import Refused
from l7proxy.http.request import Request, parse_request
from l7proxy.limits import Limits
from l7proxy.proxy.relay import RequestRelay, ResponseRelay
from l7proxy.reasons import Reason

LIMITS = Limits()
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX: y\r\n\r\nhello world",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: </>\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
]


def request(version: bytes = b"1.1") -> Request:
    return parse_request(b"GET / HTTP/" + version + b"\r\nHost: u\r\n\r\n", LIMITS)


def relayed(response: bytes, cuts: list[int], version: bytes) -> tuple[bytes, ResponseRelay]:
    """What the client gets for ``response`` cut in pieces, without the chunks' own boundaries."""
    relay = ResponseRelay(request(version), LIMITS)
    edges = [0, *sorted(cut % len(response) for cut in cuts), len(response)]
    out = b""
    for start, end in pairwise(edges):
        if start < end:
            assert not relay.done
            out += relay.feed(response[start:end], may_keep=True)
    if not relay.done:
        out += relay.eof() or b""
    return out, relay


def unchunked(message: bytes) -> tuple[bytes, bytes]:
    """The heads, and the content with its chunks joined."""
    if b"chunked" not in message:
        heads, _, body = message.rpartition(b"\r\n\r\n")
        return heads, body
    heads, _, body = message.partition(b"\r\n\r\n")
    content = b""
    while (size := int(body.partition(b"\r\n")[0], 16)) != 0:
        body = body.partition(b"\r\n")[2]
        content += body[:size]
        body = body[size + 2 :]
    return heads, content + body


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@given(
    response=st.sampled_from(RESPONSES),
    cuts=st.lists(st.integers(min_value=0, max_value=200), max_size=30),
)
def test_pieces_do_not_matter(response: bytes, cuts: list[int], version: bytes) -> None:
    whole, expected = relayed(response, [], version)
    pieces, found = relayed(response, cuts, version)
    assert unchunked(pieces) == unchunked(whole)
    assert found.done
    for name in ("status", "keep", "reusable", "content", "upgraded"):
        assert getattr(found, name) == getattr(expected, name)


def test_a_cut_response_has_no_end() -> None:
    for response in RESPONSES[1:3]:
        relay = ResponseRelay(request(), LIMITS)
        relay.feed(response[:-3], may_keep=True)
        assert relay.eof() is None
        assert not relay.done


def test_bytes_behind_a_response_are_not_passed_on() -> None:
    for response in RESPONSES[:4]:
        relay = ResponseRelay(request(), LIMITS)
        out = relay.feed(response + b"stray", may_keep=True)
        assert relay.done
        assert not relay.reusable
        assert b"stray" not in out


def test_a_head_that_cannot_become_one_is_refused_early() -> None:
    relay = ResponseRelay(request(), LIMITS)
    with pytest.raises(Refused) as caught:
        relay.feed(b"220 smtp.example.org", may_keep=True)
    assert caught.value.reason is Reason.UPSTREAM_NOT_HTTP


def test_what_completes_a_request_body() -> None:
    head = b"POST / HTTP/1.1\r\nHost: u\r\nContent-Length: 10\r\n\r\n"
    body = RequestRelay(parse_request(head, LIMITS), LIMITS)
    assert body.ends_within(10)
    assert not body.ends_within(9)
    assert body.take(b"0123456789next") == (b"0123456789", b"next")
    assert body.done
    chunked = b"POST / HTTP/1.1\r\nHost: u\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = RequestRelay(parse_request(chunked, LIMITS), LIMITS)
    assert not body.ends_within(10**9)
    assert body.take(b"1;x=y\r\na\r\n0\r\n\r\nnext") == (b"1\r\na\r\n0\r\n\r\n", b"next")
    assert (body.content, body.done) == (1, True)
