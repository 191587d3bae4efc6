"""The automaton of requests accepts and refuses what ``l7proxy.http`` does, and never more."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from l7proxy.compiler.head_machine import Content, Event, MessageEnd, Stopped
from l7proxy.compiler.head_meaning import Undecided
from l7proxy.compiler.head_sides import RequestMachine
from l7proxy.limits import Limits
from l7proxy.reasons import Reason
from tests.compiler.head_reading import LIMITS, request_by_http, request_by_machine
from tests.http.corpus import Case, load_cases
from tests.http.reading import cut
from tests.http.strategies import requests, valid_heads

CASES = load_cases()
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)

# What the automaton does not judge, by the topic of the corpus; all other cases it does.
UNDECIDED = {
    "normalisation/dot-segments": Undecided.PATH_NOT_NORMAL,
    "normalisation/above-the-root": Undecided.PATH_NOT_NORMAL,
    "normalisation/dots-at-the-end": Undecided.PATH_NOT_NORMAL,
    "normalisation/one-dot-at-the-end": Undecided.PATH_NOT_NORMAL,
    "normalisation/encoded-dots": Undecided.PATH_NOT_NORMAL,
    "normalisation/encoded-letters": Undecided.PATH_NOT_NORMAL,
    "normalisation/merged-slashes": Undecided.PATH_NOT_NORMAL,
    "normalisation/slashes-then-dots": Undecided.PATH_NOT_NORMAL,
    "normalisation/path-stays-a-path": Undecided.PATH_NOT_NORMAL,
    "target/absolute-form": Undecided.ABSOLUTE_FORM,
    "target/absolute-form-case": Undecided.ABSOLUTE_FORM,
    "target/absolute-form-without-path": Undecided.ABSOLUTE_FORM,
    "target/absolute-form-of-options": Undecided.ABSOLUTE_FORM,
    "target/absolute-form-normalised": Undecided.ABSOLUTE_FORM,
    "target/absolute-form-on-http10": Undecided.ABSOLUTE_FORM,
    "target/absolute-form-other-host": Undecided.ABSOLUTE_FORM,
    "target/absolute-form-other-port": Undecided.ABSOLUTE_FORM,
    "target/absolute-form-without-host": Undecided.ABSOLUTE_FORM,
    "target/absolute-form-userinfo": Undecided.ABSOLUTE_FORM,
    "target/absolute-form-empty-authority": Undecided.ABSOLUTE_FORM,
}

# Ends that complete whatever a stream was cut off in, to see what it would have become.
ENDS = (b"\r\n\r\n", b"\n\r\n", b"\n", b"x: y\r\n\r\n", b":\r\n\r\n")


def check(wire: bytes, pieces: Iterable[bytes]) -> Undecided | None:
    """Hold the automaton to ``l7proxy.http``; why it did not judge, if it did not."""
    want, _ = request_by_http(wire)
    got, _ = request_by_machine(pieces)
    if isinstance(got.cause, Undecided):
        assert got.heads == want.heads[: len(got.heads)]
        return got.cause
    if got.cause is Reason.BAD_TRAILER and want.cause is None:
        # A forbidden trailer is refused by its name, before the section has ended.
        want.cause = Reason.BAD_TRAILER
        ends = {request_by_http(wire + end)[0].cause for end in ENDS}
        assert Reason.BAD_TRAILER in ends
    assert got == want
    return None


def byte_by_byte(wire: bytes) -> list[bytes]:
    return [wire[at : at + 1] for at in range(len(wire))]


@each_case
def test_case_however_it_is_cut(case: Case) -> None:
    expected = UNDECIDED.get(case.id)
    assert check(case.wire, [case.wire]) is expected
    assert check(case.wire, byte_by_byte(case.wire)) is expected
    source = random.Random(case.id)
    places = source.sample(range(len(case.wire) + 1), k=min(4, len(case.wire)))
    assert check(case.wire, cut(case.wire, places)) is expected


@each_case
def test_case_behind_another_request(case: Case) -> None:
    first = b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    assert check(first + case.wire, [first + case.wire]) is UNDECIDED.get(case.id)


def test_no_case_is_undecided_but_those_named() -> None:
    assert set(UNDECIDED) <= {case.id for case in CASES}


CUTS = st.lists(st.integers(0, 400), max_size=4)


def cut_within(wire: bytes, places: list[int]) -> list[bytes]:
    return cut(wire, [min(place, len(wire)) for place in places])


@given(requests(), CUTS)
@settings(max_examples=200)
def test_generated_requests(wire: bytes, places: list[int]) -> None:
    check(wire, cut_within(wire, places))


@given(st.lists(st.one_of(requests(), valid_heads()), min_size=2, max_size=4), CUTS)
@settings(max_examples=200)
def test_pipelined_requests(wires: list[bytes], places: list[int]) -> None:
    wire = b"".join(wires)
    check(wire, cut_within(wire, places))


HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
SMUGGLED = (
    *(b"Content-Length: 5\r\n", b"Content-Length: 6\r\n", b"Content-Length: 5, 5\r\n"),
    *(b"Content-Length:\t5 \t\r\n", b"Content-Length: 5 5\r\n", b"Content-Length: 0x5\r\n"),
    *(b"Content-Length: 000000000000000005\r\n", b"Content-Length: \r\n"),
    *(b"Content-Length: 0000000000000000005\r\n", b"Content_Length: 7\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding:chunked\t\r\n"),
    *(b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: chunked, chunked\r\n"),
    *(b"Transfer-Encoding: CHUNKED\r\n", b"Transfer-Encoding: identity\r\n"),
    *(b"Transfer-Encoding:\r\n", b"Transfer-Encoding : chunked\r\n", b"tRaNsFeR: x\r\n"),
    *(b"Transfer-Encoding: \x0bchunked\r\n", b"Transfer-Encoding: chunke\r\n"),
    *(b"Transfer-Encoding: chunked\n", b" Transfer-Encoding: chunked\r\n"),
    *(b"X: a\r\n", b"X: a\rY: b\r\n", b"X: \r\n b\r\n", b"Connection: content-length\r\n"),
    *(
        b"Connection: close, x\r\n",
        b"Connection: keep-alive;\r\n",
        b"Expect: 100-Continue\r\n",
    ),
    *(b"Connection: ,upgrade ,\r\n", b"Connection: a b\r\n", b"Upgrade: x, websocket\r\n"),
    *(b"Upgrade: websocket x\r\n", b"Upgrade: websocket \t\r\n", b"Connection: expect\r\n"),
)
SMUGGLING = st.lists(st.sampled_from(SMUGGLED), max_size=4).map(b"".join)
CHUNKS = st.lists(
    st.sampled_from(
        [
            *(b"5\r\nhello\r\n", b"5;x\r\nhello\r\n", b"5 \r\nhello\r\n", b"05\r\nhello\r\n"),
            *(b"0\r\n\r\n", b"0\r\n", b"000\r\n\r\n", b"0;a=b\r\n\r\n", b"\r\n", b"5\nhello\r\n"),
            *(b"0000000000000005\r\nhello\r\n", b"00000000000000005\r\nhello\r\n", b"5\r\nhello"),
            *(b"X-T: 1\r\n", b"Host: b\r\n", b"Content-Length: 3\r\n", b"x-t\r\n", b" x: y\r\n"),
            *(
                b"Range: x\r\n",
                b"Cookie-x: 1\r\n",
                b"ffffffffffffffff\r\n",
                b"7fffffffffffffff\r\n",
            ),
            *(
                b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                b"a\r\n0123456789\r\n",
                b"5;\t\xff\x00\r\nhello\r\n",
            ),
        ]
    ),
    max_size=6,
).map(b"".join)


@given(SMUGGLING, CHUNKS, CUTS)
@settings(max_examples=200)
@example(b"Transfer-Encoding: chunked\r\n", b"0\r\nHost: b\r\n", [])
def test_smuggling_families(fields: bytes, content: bytes, places: list[int]) -> None:
    wire = HEAD + fields + b"\r\n" + content
    check(wire, cut_within(wire, places))


def test_every_two_smuggled_fields() -> None:
    for pair in product(SMUGGLED, SMUGGLED):
        wire = HEAD + b"".join(pair) + b"\r\n0\r\n\r\n"
        check(wire, [wire])


@pytest.mark.parametrize(
    ("fields", "expects"),
    [
        (b"Expect: 100-continue\r\n", True),
        (b"Expect: 100-CONTINUE \r\n", True),
        (b"Expect: 100-continue\r\nExpect: 100-continue\r\n", False),
        (b"Expect: 100-continues\r\n", False),
        (b"", False),
    ],
)
def test_expectations(fields: bytes, expects: bool) -> None:
    wire = HEAD + fields + b"Content-Length: 1\r\n\r\na"
    assert check(wire, [wire]) is None
    assert request_by_machine([wire])[1][0].expects_continue is expects


@given(CHUNKS, CUTS)
@settings(max_examples=200)
def test_chunked_content(content: bytes, places: list[int]) -> None:
    wire = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + content
    check(wire, cut_within(wire, places))


HOSTS = st.one_of(
    st.text(alphabet="aZ.-_~:0196[]f@,% ", max_size=12),
    st.text(alphabet="0f1:.", max_size=30).map("[{}]".format),
    st.ip_addresses(v=6).map("[{}]".format),
    st.ip_addresses(v=6).map(lambda address: f"[{address.exploded}]:80"),
    st.lists(st.sampled_from(["", "0", "ffff", "12345"]), min_size=6, max_size=10).map(
        lambda groups: "[" + ":".join(groups) + "]"
    ),
    st.integers(0, 70000).map("a:{}".format),
    st.integers(250, 260).map(lambda size: "a" * size + ":1"),
)


@given(HOSTS, CUTS)
@settings(max_examples=200)
@example("[1:2:3:4:5:6:7::]:65535", [])
@example("[1::2:3:4:5:6:7:8]", [])
@example("a:65536", [])
@example("a:", [])
def test_hosts(host: str, places: list[int]) -> None:
    wire = b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n"
    cause = check(wire, cut_within(wire, places))
    assert cause is None or (cause is Undecided.DOTTED_LITERAL and "." in host)


PORTS = "0 00 01 1 9 6553 65535 65536 65540 65599 65600 66000 6600 70000 7000 99999 100000 655350"


@pytest.mark.parametrize("port", PORTS.split())
@pytest.mark.parametrize("host", ["a", "[::1]", "[1:2:3:4:5:6:7:8]"])
def test_ports(host: str, port: str) -> None:
    wire = f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    assert check(wire, [wire]) is None


@given(st.text(alphabet="/.%?a2eEfF5cC04 *1#\\h", max_size=12), st.booleans())
@settings(max_examples=200)
def test_paths(text: str, rooted: bool) -> None:
    wire = b"GET " + b"/" * rooted + text.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    cause = check(wire, [wire])
    assert cause in (None, Undecided.PATH_NOT_NORMAL)
    parsed = request_by_http(wire)[1]
    if parsed:
        normal = parsed[0].path == parsed[0].target
        assert (cause is None) is normal


@given(
    st.binary(max_size=40)
    | st.text(alphabet="GETPRI * HTTP/2.01\r\n:h", max_size=30).map(str.encode),
    CUTS,
)
@settings(max_examples=200)
@example(b"PRI * HTTP/2.0\r\n\r\n", [5])
@example(b"PRI * HTTP/1.1\r\n\r\n", [])
@example(b"\r\n\r\nGET", [1])
def test_first_bytes(wire: bytes, places: list[int]) -> None:
    check(wire, cut_within(wire, places))


@pytest.mark.parametrize("size", [8191, 8192, 8193])
@pytest.mark.parametrize("last", [b" HTTP/1.1\r\n", b"#", b"\x00", b""])
def test_the_longest_target(size: int, last: bytes) -> None:
    wire = b"GET /" + b"a" * (size - 1) + last
    check(wire, [wire])
    check(wire, [wire[:20], wire[20:-1], wire[-1:]])


@pytest.mark.parametrize("spare", [0, 1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\x00\r\n\r\n", b"aaaaaa"])
def test_the_longest_head(spare: int, end: bytes) -> None:
    start = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    wire = start + b"x" * (LIMITS.head_bytes - len(start) - spare) + end
    check(wire, [wire])
    check(wire, [wire[:-3], wire[-3:-2], wire[-2:-1], wire[-1:]])


@pytest.mark.parametrize("size", [1021, 1022, 1023, 1024, 1025])
def test_the_longest_chunk_line(size: int) -> None:
    line = b"5;" + b"x" * (size - 2)
    for end in (b"\r\nhello\r\n0\r\n\r\n", b"\r", b""):
        for before in (b"", b"1\r\na\r\n"):
            wire = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + before + line + end
            check(wire, [wire])
            check(wire, [wire[:900], *byte_by_byte(wire[900:])])


@pytest.mark.parametrize("size", range(LIMITS.trailer_bytes - 6, LIMITS.trailer_bytes + 2))
def test_the_longest_trailers(size: int) -> None:
    for end in (b"\r\n\r\n", b"\r\n", b""):
        wire = HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"x" * (size - 3) + end
        check(wire, [wire])
        check(wire, [wire[:-1], wire[-1:]])


def test_the_most_trailers() -> None:
    for number in (LIMITS.head_fields, LIMITS.head_fields + 1):
        wire = HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * number + b"\r\n"
        check(wire, [wire])


def test_limits_that_the_counters_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="60000"):
        RequestMachine(Limits(head_bytes=60001))


def test_nothing_is_read_after_a_stop() -> None:
    machine = RequestMachine(LIMITS)
    assert machine.feed(b"GET / HTTP/1.1\n") == [Stopped(Reason.BAD_LINE_END, 15)]
    assert machine.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == []


UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@pytest.mark.parametrize(
    ("accepted", "following", "last"),
    [
        (None, b"GET /", Stopped(Reason.BYTES_BEFORE_UPGRADE, len(UPGRADE))),
        (True, b"\x81\x00 anything", Content(11)),
        (False, b"\x81", Stopped(Reason.NOT_HTTP, len(UPGRADE) + 1)),
        (False, b"GET /", None),
    ],
)
def test_an_upgrade_waits_for_its_answer(
    accepted: bool | None, following: bytes, last: Event | None
) -> None:
    machine = RequestMachine(LIMITS)
    assert machine.feed(UPGRADE)[-1] == MessageEnd()
    if accepted is not None:
        machine.upgrade_answered(accepted=accepted)
    events = machine.feed(following)
    assert events == ([] if last is None else [last])
