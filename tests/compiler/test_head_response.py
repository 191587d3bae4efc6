"""The automaton of responses reads what ``l7proxy.http`` reads, and knows what is owed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from l7proxy.compiler.head_machine import Content, Stopped
from l7proxy.compiler.head_meaning import ResponseHead
from l7proxy.compiler.head_sides import ResponseMachine
from l7proxy.http.framing import CHUNKED, UNTIL_CLOSE
from l7proxy.limits import Limits
from l7proxy.reasons import Reason
from tests.compiler.head_reading import LIMITS, response_by_http, response_by_machine
from tests.http.reading import cut

LINES = (
    *(b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.0 200 OK", b"HTTP/1.1 500 "),
    *(b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 302", b"ICY 200 OK"),
    *(b"HTTP/1.1 20 OK", b"HTTP/1.1  200 OK", b"HTTP/2.0 200 OK", b"HTTP/1.1 200 O\x00K"),
    *(b"HTTP/1.1 100 Continue", b"HTTP/1.1 103 Early Hints", b"HTTP/1.1 101 Switching"),
    *(b"HTTP/1.1 2000", b"HTTP/1.1 099 x", b"http/1.1 200 OK", b"HTTP/1.1 999 \xff\t"),
)
FIELDS = (
    *(b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: x", b"Connection: close"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Connection: keep-alive"),
    *(b"Server: x", b"Set-Cookie: a", b"Set-Cookie: b", b"X : y", b" folded", b"X: a\nb"),
    *(b"Connection: keep-alive x", b"Connection: a/b, close", b"Upgrade: websocket"),
    *(b"Upgrade: h2c", b"Content-Length: 0000000000000000000", b"Connection: host ,close"),
)
CONTENTS = (
    *(b"", b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\nX-T: 1\r\n\r\n", b"hell"),
    *(b"0\r\nTrailer: x\r\n\r\n", b"5\r\nhellox", b"zz"),
)
METHODS = st.lists(st.sampled_from([b"GET", b"HEAD", b"POST"]), max_size=4)
CUTS = st.lists(st.integers(0, 300), max_size=4)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    lines = [draw(st.sampled_from(LINES)), *draw(st.lists(st.sampled_from(FIELDS), max_size=3))]
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n" + draw(st.sampled_from(CONTENTS))


def check(
    wire: bytes, methods: Sequence[bytes], pieces: list[bytes], *, upgrade: bool = False
) -> None:
    want = response_by_http(wire, methods, upgrade=b"websocket" if upgrade else None)
    got = response_by_machine(pieces, methods, upgrade=upgrade)
    if got.cause is not None and want.cause is None:
        # The automaton refuses at the first byte that cannot become right, the parser may wait.
        assert got.cause is Reason.UPSTREAM_NOT_HTTP
        assert response_by_http(wire + b"\r\n\r\n", methods).cause is got.cause
        want.cause = got.cause
    assert got == want


@given(st.lists(responses(), min_size=1, max_size=4).map(b"".join), METHODS, CUTS, st.booleans())
@settings(max_examples=200)
@example(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\nabc", [b"GET"], [], True)
@example(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\nabc", [b"GET"], [], False)
@example(b"HTTP/1.1 101 x\r\nUpgrade: h2c\r\n\r\nabc", [b"GET"], [], True)
def test_generated_responses(
    wire: bytes, methods: list[bytes], places: list[int], upgrade: bool
) -> None:
    check(wire, methods, [wire], upgrade=upgrade)
    pieces = cut(wire, [min(place, len(wire)) for place in places])
    check(wire, methods, pieces, upgrade=upgrade)
    check(wire, methods, [wire[at : at + 1] for at in range(len(wire))], upgrade=upgrade)


@pytest.mark.parametrize("line", LINES)
def test_every_line_with_every_field(line: bytes) -> None:
    for field in FIELDS:
        for content in CONTENTS:
            for method in (b"GET", b"HEAD"):
                wire = line + b"\r\n" + field + b"\r\n\r\n" + content
                check(wire, [method, method], [wire])


def test_every_two_fields() -> None:
    for pair in product(FIELDS, FIELDS):
        wire = b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(pair) + b"\r\n\r\n0\r\n\r\n"
        check(wire, [b"GET"], [wire])


@pytest.mark.parametrize("spare", range(6))
def test_the_longest_head(spare: int) -> None:
    start = b"HTTP/1.1 204 OK\r\nX: "
    wire = start + b"x" * (LIMITS.head_bytes - len(start) - spare) + b"\r\n\r\n"
    check(wire, [b"GET"], [wire])
    check(wire, [b"GET"], [wire[:-2], wire[-2:-1], wire[-1:]])


def test_the_most_fields() -> None:
    for number in (LIMITS.head_fields, LIMITS.head_fields + 1):
        wire = b"HTTP/1.1 204 OK\r\n" + b"X: y\r\n" * number + b"\r\n"
        check(wire, [b"GET"], [wire])


def test_what_is_owed_goes_down_with_final_answers() -> None:
    machine = ResponseMachine(LIMITS)
    assert machine.owe(is_head=True)
    assert machine.owe()
    machine.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert machine.owed == 2
    machine.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    assert machine.owed == 1
    events = machine.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    assert events == [ResponseHead(63, 47, 200, 1, CHUNKED, True, False), Content(1)]
    assert machine.owed == 1
    machine.feed(b"0\r\n\r\n")
    assert machine.owed == 0
    assert machine.feed(b"H") == [Stopped(Reason.UPSTREAM_NOT_HTTP, 121)]


def test_no_more_is_owed_than_can_be_kept() -> None:
    machine = ResponseMachine(LIMITS)
    assert all(machine.owe() for _ in range(64))
    assert not machine.owe()
    assert machine.owed == 64


@pytest.mark.parametrize(
    ("wire", "whole"),
    [
        (b"", True),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", False),
        (b"HTTP/1.1 200", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", False),
    ],
)
def test_the_end_of_the_connection(wire: bytes, whole: bool) -> None:
    machine = ResponseMachine(LIMITS)
    machine.owe()
    machine.feed(wire)
    assert machine.eof() is whole


def test_content_until_the_end_is_not_looked_into() -> None:
    machine = ResponseMachine(Limits())
    machine.owe()
    events = machine.feed(b"HTTP/1.0 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
    assert isinstance(events[0], ResponseHead)
    assert events[0].framing is UNTIL_CLOSE
    assert events[1:] == [Content(19)]
