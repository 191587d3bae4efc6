"""Where heads end, and that the byte-order judge and the grammar agree on what is well-formed."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from l7proxy.http.grammar import REQUEST_HEAD
from l7proxy.http.head import check_partial, check_partial_response, explain_request, find_end
from l7proxy.http.refused import Refused
from l7proxy.limits import Limits
from l7proxy.reasons import Reason
from tests.http.strategies import requests

LIMITS = Limits()
SMALL = Limits(head_bytes=64, target_bytes=16)


def first_fault(data: bytes, limits: Limits = LIMITS, checked: int = 0) -> Reason | None:
    try:
        check_partial(data, limits, checked)
    except Refused as refused:
        return refused.reason
    return None


def test_find_end_gives_the_offset_after_the_empty_line() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest\r\n\r\n"
    assert find_end(data, 0) == data.index(b"rest")
    assert find_end(bytearray(data), data.index(b"rest")) == len(data)
    assert find_end(b"GET / HTTP/1.1\r\nHost: a\r\n\r", 0) == -1


@given(requests())
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"GET / HTTP/1.1\r\n\r\n")
@example(b"\r\n\r\n")
def test_the_judge_and_the_grammar_agree(wire: bytes) -> None:
    end = find_end(wire, 0)
    head = wire if end < 0 else wire[:end]
    fault = first_fault(head)
    if REQUEST_HEAD.match(head):
        assert fault is None
        assert check_partial(head, LIMITS) == len(head)
    elif end >= 0:
        assert fault is not None


@given(st.binary(max_size=60))
def test_arbitrary_bytes_that_are_no_head_are_explained(data: bytes) -> None:
    if not REQUEST_HEAD.match(data):
        with pytest.raises(Refused):
            explain_request(data, LIMITS)


@given(requests())
def test_a_fault_is_found_at_the_same_byte_however_much_follows(wire: bytes) -> None:
    faults = [first_fault(wire[:length]) for length in range(len(wire) + 1)]
    found = [fault for fault in faults if fault is not None]
    head_end = find_end(wire, 0)
    if found and (head_end < 0 or faults.index(found[0]) <= head_end):
        assert set(found) == {found[0]}
        assert faults[-len(found) :] == found


@given(requests(), st.data())
def test_checking_on_from_the_last_line_is_checking_all(wire: bytes, data: st.DataObject) -> None:
    end = find_end(wire, 0)
    wire = wire if end < 0 else wire[:end]
    middle = data.draw(st.integers(0, len(wire)))
    if first_fault(wire[:middle]) is None:
        checked = check_partial(wire[:middle], LIMITS)
        assert first_fault(wire, checked=checked) is first_fault(wire)


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"\x16", Reason.NOT_HTTP),
        (b"\x80\x2e\x01", Reason.NOT_HTTP),
        (b"PRI * HTTP/2", Reason.NOT_HTTP),
        (b"GET /\r", None),
        (b"GET /\r\n", Reason.BAD_REQUEST_LINE),
        (b"GET / HTTP/1.", None),
        (b"GET / HTTP/1.1\r", None),
        (b"GET / HTTP/2.0", Reason.BAD_VERSION),
        (b"GET / HTTP/1.1\n", Reason.BAD_LINE_END),
        (b"\r", None),
        (b"\r\n", None),
        (b"\r\n\r", Reason.BAD_REQUEST_LINE),
        (b"\rG", Reason.BAD_LINE_END),
        (b"GET / HTTP/1.1\r\n ", Reason.LINE_FOLDING),
        (b"GET / HTTP/1.1\r\nHost", None),
        (b"GET / HTTP/1.1\r\nHost ", Reason.BAD_HEADER_NAME),
        (b"GET / HTTP/1.1\r\nHost: a\r", None),
        (b"GET / HTTP/1.1\r\nHost: a\rb", Reason.BAD_LINE_END),
        (b"GET / HTTP/1.1\r\nHost: a\x00", Reason.BAD_HEADER_VALUE),
    ],
)
def test_a_beginning_is_refused_as_soon_as_it_is_hopeless(
    start: bytes, reason: Reason | None
) -> None:
    assert first_fault(start) is reason


def test_limits_hold_before_the_head_is_whole() -> None:
    assert first_fault(b"GET /" + b"a" * 15, SMALL) is None
    assert first_fault(b"GET /" + b"a" * 16, SMALL) is Reason.TARGET_TOO_LONG
    assert first_fault(b"GET / HTTP/1.1\r\nX: ".ljust(64, b"a"), SMALL) is None
    assert first_fault(b"GET / HTTP/1.1\r\nX: ".ljust(65, b"a"), SMALL) is Reason.HEAD_TOO_LARGE
    assert first_fault(b"A" * 65, SMALL) is Reason.HEAD_TOO_LARGE


def test_a_fault_within_the_limit_comes_before_the_limit() -> None:
    assert first_fault(b"GET / HTTP/1.1\r\nX : ".ljust(99, b"a"), SMALL) is Reason.BAD_HEADER_NAME


@pytest.mark.parametrize("start", [b"", b"HTT", b"HTTP/1.", b"HTTP/1.1 200 OK\r\nServer: x\r"])
def test_a_response_that_may_become_whole_is_waited_for(start: bytes) -> None:
    check_partial_response(start, SMALL)


@pytest.mark.parametrize(
    "start", [b"SSH-2.0-x", b"HTTP/2", b"\x16", b"HTTP/1.1 200 OK\n", b"HTTP/1.1 ".ljust(65, b"a")]
)
def test_a_response_that_cannot_become_whole_is_refused(start: bytes) -> None:
    with pytest.raises(Refused) as caught:
        check_partial_response(bytearray(start), SMALL)
    assert caught.value.reason is Reason.UPSTREAM_NOT_HTTP
