"""What is sent on is what was understood, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given

from l7proxy.http.forward import (
    editable,
    kept_request_id,
    new_request_id,
    request_head,
    response_framing,
    response_head,
)
from l7proxy.http.framing import CHUNKED, UNTIL_CLOSE
from l7proxy.http.request import Request, parse_request
from l7proxy.http.response import Response, parse_response
from l7proxy.limits import Limits
from tests.http.strategies import valid_heads

LIMITS = Limits()
HOP_BY_HOP = (b"connection", b"keep-alive", b"te", b"proxy-connection", b"upgrade", b"x-hop")


@dataclass(frozen=True)
class Edit:
    name: bytes
    value: bytes | None
    append: bool = False


def request(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"users") -> Request:
    lines = (line, b"Host: " + host, *fields, b"", b"") if host else (line, *fields, b"", b"")
    return parse_request(b"\r\n".join(lines), LIMITS)


def response(*lines: bytes, method: bytes = b"GET", upgrade: bytes | None = None) -> Response:
    return parse_response(b"\r\n".join((*lines, b"", b"")), method, LIMITS, upgrade=upgrade)


def sent(request: Request, edits: tuple[Edit, ...] = (), default_host: bytes = b"") -> list[bytes]:
    head = request_head(
        request,
        client_address=b"10.0.0.9",
        request_id=b"id-1",
        edits=edits,
        default_host=default_host,
    )
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


def returned(response: Response, client_minor: int = 1, keep_alive: bool = True) -> list[bytes]:
    head = response_head(response, client_minor=client_minor, keep_alive=keep_alive)
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


def test_a_plain_request() -> None:
    assert sent(request(b"Accept:*/* ", line=b"GET /a/../%62?c=%2f HTTP/1.1")) == [
        b"GET /b?c=%2f HTTP/1.1",
        b"Host: users",
        b"Accept: */*",
        b"X-Forwarded-For: 10.0.0.9",
        b"X-Forwarded-Proto: http",
        b"X-Request-Id: id-1",
    ]


def test_fields_of_this_hop_are_left_out() -> None:
    lines = sent(
        request(
            *(b"Connection: close, X-Hop, TE", b"X-Hop: 1", b"Keep-Alive: 5", b"TE: trailers"),
            *(b"Proxy-Connection: x", b"Upgrade: h2c", b"HTTP2-Settings: x", b"X-Stays: 1"),
        )
    )
    names = {line.partition(b":")[0].lower() for line in lines}
    assert not names & {*HOP_BY_HOP, b"http2-settings"}
    assert b"X-Stays: 1" in lines


def test_the_absolute_form_becomes_the_origin_form() -> None:
    lines = sent(request(line=b"GET http://users/a HTTP/1.1"))
    assert lines[:2] == [b"GET /a HTTP/1.1", b"Host: users"]


def test_http10_is_sent_on_as_http11_with_a_host() -> None:
    plain = request(line=b"GET / HTTP/1.0", host=b"")
    assert sent(plain, default_host=b"10.0.0.4:80")[:2] == [
        b"GET / HTTP/1.1",
        b"Host: 10.0.0.4:80",
    ]
    absolute = request(line=b"GET http://Users/ HTTP/1.0", host=b"")
    assert sent(absolute, default_host=b"10.0.0.4:80")[1] == b"Host: users"


def test_the_chain_of_addresses_grows() -> None:
    lines = sent(request(b"X-Forwarded-For: 1.1.1.1", b"x-forwarded-for: 2.2.2.2", b"X: y"))
    chains = [line for line in lines if line.lower().startswith(b"x-forwarded-for")]
    assert chains == [b"X-Forwarded-For: 1.1.1.1,2.2.2.2, 10.0.0.9"]
    assert b"X-Forwarded-For: 10.0.0.9" in sent(request(b"X-Forwarded-For:"))


def test_the_scheme_that_a_proxy_before_saw_is_kept() -> None:
    lines = sent(request(b"X-Forwarded-Proto: https"))
    assert b"X-Forwarded-Proto: https" in lines
    assert b"X-Forwarded-Proto: http" not in lines


@pytest.mark.parametrize("value", [b"abc", b"6f1c-9/x=", b"a" * 128])
def test_a_good_request_id_is_kept(value: bytes) -> None:
    assert kept_request_id(request(b"X-Request-Id: " + value)) == value


@pytest.mark.parametrize("value", [b"", b"a b", b"a" * 129, b"\xe9", b"a,b", b"a\tb"])
def test_another_request_id_is_not(value: bytes) -> None:
    made = request(b"X-Request-Id: " + value)
    assert kept_request_id(made) is None
    assert [line for line in sent(made) if line.startswith(b"X-Request")] == [b"X-Request-Id: id-1"]


def test_two_request_ids_are_none() -> None:
    assert kept_request_id(request(b"X-Request-Id: a", b"X-Request-Id: b")) is None
    assert kept_request_id(request()) is None


def test_a_new_request_id_is_one_that_would_be_kept() -> None:
    first, second = new_request_id(), new_request_id()
    assert first != second
    assert kept_request_id(request(b"X-Request-Id: " + first)) == first
    assert first[14:15] == b"4"


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        ([b"content-length: 007"], [b"Content-Length: 7"]),
        ([b"Content-Length: 0"], [b"Content-Length: 0"]),
        ([b"transfer-encoding: CHUNKED"], [b"Transfer-Encoding: chunked"]),
        ([], []),
    ],
)
def test_framing_is_written_from_what_was_understood(
    fields: list[bytes], framing: list[bytes]
) -> None:
    lines = sent(request(*fields, line=b"POST / HTTP/1.1"))
    found = [
        line
        for line in lines
        if line.lower().startswith((b"content-length:", b"transfer-encoding:"))
    ]
    assert found == framing


def test_an_upgrade_is_offered_on() -> None:
    lines = sent(request(b"Connection: keep-alive, upgrade", b"Upgrade: h2c, WebSocket"))
    assert lines[-2:] == [b"Connection: Upgrade", b"Upgrade: websocket"]


def test_an_expectation_is_passed_on() -> None:
    fields = (b"Expect: 100-continue", b"Content-Length: 3")
    assert b"Expect: 100-continue" in sent(request(*fields, line=b"POST / HTTP/1.1"))


def test_edits() -> None:
    edits = (
        Edit(b"x-key", b"new"),
        Edit(b"X-Gone", None),
        Edit(b"X-More", b"2", append=True),
        Edit(b"X-Empty", b""),
    )
    lines = sent(request(b"X-Key: 1", b"X-Key: 2", b"x-gone: 1", b"X-More: 1"), edits)
    edited = [line for line in lines if line.lower().startswith((b"x-k", b"x-g", b"x-m", b"x-e"))]
    assert edited == [b"X-More: 1", b"x-key: new", b"X-More: 2", b"X-Empty: "]


@pytest.mark.parametrize(
    "name", [b"Content-Length", b"transfer-encoding", b"Connection", b"a b", b""]
)
def test_framing_cannot_be_edited(name: bytes) -> None:
    assert not editable(name)
    with pytest.raises(ValueError, match="may be changed"):
        sent(request(), (Edit(name, b"1"),))


@pytest.mark.parametrize("value", [b"a\r\nX: y", b"a\nb", b"a\x00", b"\r"])
def test_an_edit_cannot_bring_in_a_line(value: bytes) -> None:
    assert editable(b"X-Key")
    with pytest.raises(ValueError, match="may"):
        sent(request(), (Edit(b"X-Key", value),))


@given(valid_heads())
def test_what_is_sent_on_means_the_same(head: bytes) -> None:
    before = parse_request(head, LIMITS)
    forwarded = request_head(before, client_address=b"10.0.0.9", request_id=b"id-1")
    after = parse_request(forwarded, LIMITS)
    assert (after.method, after.path, after.host) == (before.method, before.path, before.host)
    assert after.target == before.path
    assert (after.framing, after.upgrade) == (before.framing, before.upgrade)
    assert after.header(b"x-forwarded-for") == b", ".join(
        part for part in (before.header(b"x-forwarded-for"), b"10.0.0.9") if part
    )
    ours = {b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id", b"content-length"}
    for name in before.index.keys() - before.dropped - ours:
        assert after.header(name) == before.header(name)
    twice = request_head(after, client_address=b"10.0.0.8", request_id=b"id-2")
    assert twice.count(b"\r\n") == forwarded.count(b"\r\n")


@pytest.mark.parametrize(
    ("lines", "client_minor", "framing"),
    [
        ([b"HTTP/1.1 200 OK", b"Content-Length: 3"], 1, 3),
        ([b"HTTP/1.1 200 OK", b"Content-Length: 3"], 0, 3),
        ([b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"], 1, CHUNKED),
        ([b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"], 0, UNTIL_CLOSE),
        ([b"HTTP/1.0 200 OK"], 1, CHUNKED),
        ([b"HTTP/1.0 200 OK"], 0, UNTIL_CLOSE),
        ([b"HTTP/1.1 204 No Content"], 1, None),
    ],
)
def test_content_is_framed_for_the_client(
    lines: list[bytes], client_minor: int, framing: object
) -> None:
    answer = response(*lines)
    assert response_framing(answer, client_minor) == framing
    names = [
        line.partition(b":")[0]
        for line in returned(answer, client_minor)
        if line.startswith((b"Content-Length", b"Transfer-Encoding"))
    ]
    expected = {CHUNKED: [b"Transfer-Encoding"], 3: [b"Content-Length"]}
    assert names == expected.get(framing, [])  # type: ignore[call-overload]  # a table of mixed keys


def test_a_plain_response() -> None:
    fields = (b"Server: x", b"Set-Cookie: a", b"Set-Cookie: b", b"content-length: 03")
    assert returned(response(b"HTTP/1.0 404 Not here", *fields)) == [
        b"HTTP/1.1 404 Not here",
        b"Server: x",
        b"Set-Cookie: a",
        b"Set-Cookie: b",
        b"Content-Length: 3",
    ]


def test_fields_of_the_other_hop_are_left_out_of_the_response() -> None:
    fields = (b"Connection: close, X-Hop", b"X-Hop: 1", b"Keep-Alive: 5", b"Upgrade: h2c", b"A: b")
    lines = returned(response(b"HTTP/1.1 200 OK", *fields, b"Content-Length: 0"))
    assert lines == [b"HTTP/1.1 200 OK", b"A: b", b"Content-Length: 0"]


@pytest.mark.parametrize(
    ("client_minor", "keep_alive", "options"),
    [(1, True, []), (1, False, [b"close"]), (0, True, [b"keep-alive"]), (0, False, [b"close"])],
)
def test_the_client_is_told_whether_to_go_on(
    client_minor: int, keep_alive: bool, options: list[bytes]
) -> None:
    lines = returned(response(b"HTTP/1.1 200 OK", b"Content-Length: 0"), client_minor, keep_alive)
    found = [line.split(b": ")[1] for line in lines if line.startswith(b"Connection")]
    assert found == options


def test_content_that_ends_with_the_connection_closes_it() -> None:
    assert b"Connection: close" in returned(response(b"HTTP/1.0 200 OK"), 0, keep_alive=True)


def test_head_and_304_keep_their_length() -> None:
    length = b"Content-Length: 9"
    assert length in returned(response(b"HTTP/1.1 200 OK", length, method=b"HEAD"))
    assert length in returned(response(b"HTTP/1.1 304 Not Modified", length))
    assert length not in returned(response(b"HTTP/1.1 204 No Content", length))


def test_interim_responses_carry_no_connection_option() -> None:
    lines = returned(response(b"HTTP/1.1 103 Early Hints", b"Link: x"), keep_alive=False)
    assert lines == [b"HTTP/1.1 103 Early Hints", b"Link: x"]


def test_an_accepted_upgrade_is_passed_back() -> None:
    fields = (b"Upgrade: websocket", b"Connection: upgrade", b"Sec-WebSocket-Accept: x")
    answer = response(b"HTTP/1.1 101 Switching Protocols", *fields, upgrade=b"websocket")
    assert returned(answer) == [
        b"HTTP/1.1 101 Switching Protocols",
        b"Sec-WebSocket-Accept: x",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
    ]
