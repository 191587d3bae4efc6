"""What a parsed request says of itself, and that nothing but Refused ever comes out instead."""

from __future__ import annotations

import contextlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7proxy.http.normalize import is_normal
from l7proxy.http.refused import Refused
from l7proxy.http.request import Request, parse_request, refuse_early_bytes
from l7proxy.limits import Limits
from l7proxy.reasons import Reason
from tests.http.corpus import load_cases
from tests.http.reading import LIMITS, Incomplete, cut, read_request
from tests.http.strategies import requests, valid_heads

WIRES = [case.wire for case in load_cases() if len(case.wire) < 2000]


def get(*fields: bytes, line: bytes = b"GET / HTTP/1.1") -> Request:
    lines = (line, b"Host: users", *fields, b"", b"")
    return parse_request(b"\r\n".join(lines), LIMITS)


def outcome(pieces: list[bytes]) -> object:
    """What reading ``pieces`` comes to; any exception but the two that are meant goes through."""
    try:
        reading = read_request(pieces)
    except Refused as refused:
        return refused.reason, refused.reason.status, refused.location
    except Incomplete:
        return "incomplete"
    return reading


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(wire: bytes) -> None:
    outcome([wire])
    with contextlib.suppress(Refused):
        parse_request(wire, LIMITS)


@given(requests(), st.data())
def test_the_answer_does_not_depend_on_the_cuts(wire: bytes, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(wire)), max_size=5))
    assert outcome(cut(wire, places)) == outcome([wire])


@given(st.sampled_from(WIRES), st.data())
def test_a_changed_corpus_request_is_read_or_refused(wire: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(wire) - 1))
    changed = wire[:at] + data.draw(st.binary(max_size=2)) + wire[at + 1 :]
    places = data.draw(st.lists(st.integers(0, len(changed)), max_size=3))
    assert outcome(cut(changed, places)) == outcome([changed])


@given(valid_heads())
def test_what_rules_see_is_normal(head: bytes) -> None:
    request = parse_request(head, LIMITS)
    assert is_normal(request.path)
    assert request.host == b"users:80"


def test_a_header_is_found_by_its_lower_case_name() -> None:
    request = get(b"X-KEY: a", b"x-key:b ", b"X-Empty:")
    assert request.header(b"x-key") == b"a,b"
    assert request.header(b"x-empty") == b""
    assert request.header(b"x-none") is None
    assert request.headers[1:] == ((b"X-KEY", b"a"), (b"x-key", b"b"), (b"X-Empty", b""))


def test_rules_do_not_see_what_the_server_will_not() -> None:
    request = get(b"X-Key: secret", b"Connection: x-key", b"Upgrade: h2c")
    assert request.header(b"x-key") is None
    assert request.header(b"upgrade") is None
    assert b"x-key" in request.dropped


def test_an_offered_upgrade_is_seen() -> None:
    request = get(b"Upgrade: websocket", b"Connection: Upgrade")
    assert request.header(b"upgrade") == b"websocket"
    assert request.upgrade == b"websocket"


def test_bytes_before_the_answer_to_an_upgrade() -> None:
    upgrade = get(b"Upgrade: websocket", b"Connection: Upgrade")
    refuse_early_bytes(upgrade, 0)
    refuse_early_bytes(get(), 10)
    with pytest.raises(Refused) as caught:
        refuse_early_bytes(upgrade, 1)
    assert caught.value.reason is Reason.BYTES_BEFORE_UPGRADE


@pytest.mark.parametrize(
    ("field", "has_content"),
    [
        (b"X: y", False),
        (b"Content-Length: 0", False),
        (b"Content-Length: 1", True),
        (b"Transfer-Encoding: chunked", True),
    ],
)
def test_content(field: bytes, has_content: bool) -> None:
    assert get(field, line=b"POST / HTTP/1.1").has_content is has_content


@pytest.mark.parametrize(
    ("line", "fields", "reason"),
    [
        (b"CONNECT x HTTP/1.1", [b"Host: b", b"X: \x00"], Reason.BAD_HEADER_VALUE),
        (b"CONNECT x HTTP/1.1", [b"Host: b"], Reason.METHOD_CONNECT),
        (b"GET x HTTP/1.1", [b"Host: b"], Reason.BAD_TARGET),
        (b"GET /%2f HTTP/1.1", [b"Host: b", b"Content-Length: x"], Reason.BAD_HOST),
        (b"GET /%2f HTTP/1.1", [b"Content-Length: x"], Reason.BAD_CONTENT_LENGTH),
        (b"GET /%2f HTTP/1.1", [b"Connection: host"], Reason.BAD_HEADER_VALUE),
        (b"GET /%2f HTTP/1.1", [], Reason.ESCAPED_SLASH),
    ],
)
def test_of_several_faults_the_documented_one_is_named(
    line: bytes, fields: list[bytes], reason: Reason
) -> None:
    with pytest.raises(Refused) as caught:
        get(*fields, line=line)
    assert caught.value.reason is reason


def test_a_head_is_exactly_one() -> None:
    head = b"GET / HTTP/1.1\r\nHost: users\r\n\r\n"
    parse_request(b"\r\n" + head, LIMITS)
    for wire in (b"\r\n\r\n" + head, head + b"x", head + b"\r\n", head[:-2], b""):
        with pytest.raises(Refused) as caught:
            parse_request(wire, LIMITS)
        assert caught.value.reason is Reason.BAD_REQUEST_LINE


def test_a_refusal_keeps_its_parts_through_pickle() -> None:
    refused = Refused(Reason.ESCAPED_SLASH, "%2F in the path", location=b"/a")
    copy = pickle.loads(pickle.dumps(refused))
    assert (copy.reason, copy.detail, copy.location) == (
        refused.reason,
        refused.detail,
        refused.location,
    )


def test_limits_are_those_given() -> None:
    head = b"GET /aaaa HTTP/1.1\r\nHost: users\r\nX: y\r\n\r\n"
    parse_request(head, Limits(head_bytes=len(head), head_fields=2, target_bytes=5))
    for limits, reason in [
        (Limits(head_bytes=len(head) - 1), Reason.HEAD_TOO_LARGE),
        (Limits(head_fields=1), Reason.HEAD_TOO_LARGE),
        (Limits(target_bytes=4), Reason.TARGET_TOO_LONG),
    ]:
        with pytest.raises(Refused) as caught:
            parse_request(head, limits)
        assert caught.value.reason is reason
