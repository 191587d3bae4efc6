"""Response heads: one reading, or none."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l7proxy.http.body import reader
from l7proxy.http.framing import CHUNKED, UNTIL_CLOSE, ResponseFraming
from l7proxy.http.head import check_partial_response, find_end
from l7proxy.http.refused import Refused
from l7proxy.http.response import Response, parse_response
from l7proxy.limits import Limits
from l7proxy.reasons import Reason
from tests.http.others import lowered, response_by_h11, response_by_llhttp

LIMITS = Limits()

LINES = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.0 200 OK", b"HTTP/1.1 500 "),
        *(b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 302", b"ICY 200 OK"),
        *(b"HTTP/1.1 20 OK", b"HTTP/1.1  200 OK", b"HTTP/2.0 200 OK", b"HTTP/1.1 200 O\x00K"),
    ]
)
FIELDS = st.sampled_from(
    [
        *(b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: x", b"Connection: close"),
        *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Connection: keep-alive"),
        *(b"Server: x", b"Set-Cookie: a", b"Set-Cookie: b", b"X : y", b" folded", b"X: a\nb"),
    ]
)
CONTENTS = st.sampled_from(
    [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\nX-T: 1\r\n\r\n", b"hell"]
)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    lines = [draw(LINES), *draw(st.lists(FIELDS, max_size=3))]
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n" + draw(CONTENTS)


def parse(*lines: bytes, method: bytes = b"GET", upgrade: bytes | None = None) -> Response:
    head = b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    return parse_response(head, method, LIMITS, upgrade=upgrade)


def refusal(*lines: bytes, method: bytes = b"GET", upgrade: bytes | None = None) -> str:
    with pytest.raises(Refused) as caught:
        parse(*lines, method=method, upgrade=upgrade)
    assert caught.value.reason is Reason.UPSTREAM_NOT_HTTP
    return caught.value.detail


def test_a_plain_response() -> None:
    response = parse(b"HTTP/1.1 200 OK", b"Content-Length: 3", b"Server:  x ")
    assert (response.status, response.phrase, response.minor_version) == (200, b"OK", 1)
    assert response.headers == ((b"Content-Length", b"3"), (b"Server", b"x"))
    assert (response.framing, response.keep_alive) == (3, True)
    assert not response.informational


@pytest.mark.parametrize(
    ("lines", "method", "framing", "keep_alive"),
    [
        ([b"HTTP/1.1 200 OK", b"Content-Length: 0"], b"GET", 0, True),
        ([b"HTTP/1.1 200 OK", b"Transfer-Encoding: Chunked"], b"GET", CHUNKED, True),
        ([b"HTTP/1.1 200 OK"], b"GET", UNTIL_CLOSE, False),
        ([b"HTTP/1.0 200 OK", b"Connection: keep-alive"], b"GET", UNTIL_CLOSE, False),
        ([b"HTTP/1.1 200 OK"], b"HEAD", None, True),
        ([b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"], b"HEAD", None, True),
        ([b"HTTP/1.1 204 No Content"], b"GET", None, True),
        ([b"HTTP/1.1 204 No Content", b"Content-Length: 0"], b"GET", None, True),
        ([b"HTTP/1.1 304 Not Modified", b"Content-Length: 9"], b"GET", None, True),
        ([b"HTTP/1.1 100 Continue"], b"POST", None, True),
        ([b"HTTP/1.1 103 Early Hints", b"Link: x"], b"GET", None, True),
        ([b"HTTP/1.1 200 OK", b"Content-Length: 1", b"Connection: close"], b"GET", 1, False),
        ([b"HTTP/1.0 200 OK", b"Content-Length: 1"], b"GET", 1, False),
        ([b"HTTP/1.0 200 OK", b"Content-Length: 1", b"Connection: Keep-Alive"], b"GET", 1, True),
        ([b"HTTP/1.1 205 Reset Content", b"Content-Length: 0"], b"GET", 0, True),
    ],
)
def test_framing_and_persistence(
    lines: list[bytes], method: bytes, framing: ResponseFraming, keep_alive: bool
) -> None:
    response = parse(*lines, method=method)
    assert (response.framing, response.keep_alive) == (framing, keep_alive)


def test_the_length_that_a_response_without_content_declares() -> None:
    length = b"Content-Length: 9"
    assert parse(b"HTTP/1.1 200 OK", length, method=b"HEAD").declared_length == 9
    assert parse(b"HTTP/1.1 304 x", length).declared_length == 9
    assert parse(b"HTTP/1.1 204 x", length).declared_length is None
    assert parse(b"HTTP/1.1 200 OK", length).declared_length is None


def test_interim_responses() -> None:
    assert parse(b"HTTP/1.1 100 Continue").informational
    assert parse(b"HTTP/1.1 103 Early Hints").informational
    assert not parse(b"HTTP/1.1 200 OK").informational


def test_an_upgrade_is_taken_only_if_offered() -> None:
    lines = (b"HTTP/1.1 101 Switching", b"Upgrade: WebSocket", b"Connection: Upgrade")
    response = parse(*lines, upgrade=b"websocket")
    assert response.upgrade == b"websocket"
    assert not response.informational
    assert not response.keep_alive
    assert "offered" in refusal(*lines)
    assert "offered" in refusal(lines[0], b"Upgrade: h2c", upgrade=b"websocket")
    assert "offered" in refusal(lines[0], upgrade=b"websocket")


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/2.0 200 OK",
        b"HTTP/1.2 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.1 200\tOK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.1",
        b"SSH-2.0-OpenSSH",
        b"",
    ],
)
def test_a_malformed_status_line_is_refused(line: bytes) -> None:
    assert "status line" in refusal(line, b"Content-Length: 0")


@pytest.mark.parametrize("line", [b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 999 \xe9\tx"])
def test_a_phrase_may_be_missing_or_odd(line: bytes) -> None:
    assert parse(line, b"Content-Length: 0").framing == 0


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ([b"Content-Length: 3", b"Transfer-Encoding: chunked"], "together"),
        ([b"Content-Length: 3", b"Content-Length: 4"], "Content-Length"),
        ([b"Content-Length: 3", b"Content-Length: 3"], "Content-Length"),
        ([b"Content-Length: -3"], "Content-Length"),
        ([b"Transfer-Encoding: gzip, chunked"], "not chunked"),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], "not chunked"),
        ([b"X : y"], "field name"),
        ([b"X: a", b" b"], "whitespace"),
        ([b"X: a\nSet-Cookie: b"], "bare LF"),
        ([b"X: a\rb"], "bare CR"),
        ([b"X: a\x00b"], "0x00"),
        ([b"no colon"], "field name"),
        ([b"X: y"] * 101, "fields"),
        ([b"X: " + b"y" * 40000], "over"),
    ],
)
def test_a_malformed_or_ambiguous_head_is_refused(fields: list[bytes], what: str) -> None:
    assert what in refusal(b"HTTP/1.1 200 OK", *fields)
    assert what in refusal(b"HTTP/1.1 200 OK", *fields, method=b"HEAD")


def test_a_coding_on_http10_is_refused() -> None:
    assert "HTTP/1.0" in refusal(b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked")


def test_fields_that_the_connection_names_end_here() -> None:
    response = parse(b"HTTP/1.1 200 OK", b"Connection: X-Hop, Content-Type, close")
    assert b"x-hop" in response.dropped
    assert b"content-type" not in response.dropped


@given(st.one_of(st.binary(max_size=80), responses()))
def test_any_bytes_are_a_response_or_refused(head: bytes) -> None:
    with contextlib.suppress(Refused):
        parse_response(head, b"GET", LIMITS)
    with contextlib.suppress(Refused):
        check_partial_response(head, LIMITS)


@given(responses())
def test_what_parses_was_waited_for_at_every_byte(wire: bytes) -> None:
    end = find_end(wire, 0)
    with contextlib.suppress(Refused):
        parse_response(wire[:end], b"GET", LIMITS)
        checked = 0
        for length in range(end):
            check_partial_response(wire[:length], LIMITS)
            checked = check_partial_response(wire[:length], LIMITS, checked)
            assert length - 1 <= checked <= length


def test_what_was_found_good_is_not_looked_at_again() -> None:
    head = b"HTTP/1.1 200 OK\r\nA: b\r\nC"
    assert check_partial_response(head, LIMITS) == len(head)
    check_partial_response(head.replace(b"\r", b" ") + b"\r\n", LIMITS, len(head))


def read_alike(wire: bytes) -> None:
    """Holds other readers to ours, where we accept the final answer to a GET.

    Raises AssertionError.
    """
    end = find_end(wire, 0)
    try:
        response = parse_response(wire[:end], b"GET", LIMITS)
        body = reader(response.framing, LIMITS, upstream=True)
        pieces, used = body.feed(wire[end:])
    except Refused:
        return
    if body.eof() and not response.informational:
        wire = wire[: end + used]
        for other in (response_by_h11(wire, b"GET"), response_by_llhttp(wire)):
            if response.framing is UNTIL_CLOSE and other is None:
                continue  # httptools has no way to say that the connection has closed
            assert other is not None
            assert other.start == (response.status,)
            assert other.headers == lowered(response.headers)
            assert other.body == b"".join(pieces)
            assert other.trailers == lowered(body.trailers)


@given(responses())
@settings(max_examples=300)
def test_what_we_accept_others_accept_alike(wire: bytes) -> None:
    read_alike(wire)
