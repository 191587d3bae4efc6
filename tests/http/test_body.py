"""Readers of content give the same pieces for the same bytes, however cut, as h11 does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l7proxy.http import body as module
from l7proxy.http.body import (
    LAST_CHUNK,
    BodyReader,
    ChunkedBody,
    LengthBody,
    UntilCloseBody,
    chunk,
    last_chunk,
    reader,
)
from l7proxy.http.framing import CHUNKED, UNTIL_CLOSE
from l7proxy.http.grammar import Fields
from l7proxy.http.head import scan_fields
from l7proxy.http.refused import Refused
from l7proxy.limits import Limits
from l7proxy.reasons import Reason
from tests.http.others import lowered, request_by_h11
from tests.http.reading import cut

LIMITS = Limits()
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

PIECES = st.sampled_from(
    [
        *(b"5\r\nhello\r\n", b"0005\r\nhello\r\n", b"1;x=y\r\na\r\n", b"A\r\n0123456789\r\n"),
        *(b"5\r\nhello", b"\r\n", b"0\r\n", b"0;x\r\n", b"X-T: 1\r\n", b"Host: b\r\n", b"\n"),
        *(b"3\r\nabcd\r\n", b" 5\r\nhello\r\n", b"-1\r\n", b"5\nhello\n", b"0\r\n\r\n", b"\r"),
    ]
)
STREAMS = st.one_of(
    st.lists(PIECES, max_size=6).map(b"".join),
    st.lists(PIECES, max_size=6).map(lambda pieces: b"".join([*pieces, b"0\r\n\r\n"])),
)
Outcome = tuple[bytes, bytes, Fields, bool] | tuple[Reason, bytes]


def drain(body: BodyReader, pieces: list[bytes]) -> Outcome:
    """Feed ``pieces``; (content, bytes left over, trailers, done), or the reason of a refusal
    with the content that came before it."""
    content, rest = b"", b""
    for piece in pieces:
        try:
            got, used = body.feed(piece)
        except Refused as refused:
            return refused.reason, content
        assert used == len(piece) or body.done
        assert all(got)
        content += b"".join(got)
        rest += piece[used:]
    return content, rest, body.trailers, body.done


def refuses(body: BodyReader, piece: bytes) -> bool:
    return isinstance(drain(body, [piece])[0], Reason)


@given(STREAMS, st.data())
@settings(max_examples=300)
def test_chunked_content_does_not_depend_on_the_cuts(wire: bytes, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(wire)), max_size=6))
    whole = drain(ChunkedBody(LIMITS), [wire])
    pieces = drain(ChunkedBody(LIMITS), cut(wire, places))
    each = drain(ChunkedBody(LIMITS), [wire[at : at + 1] for at in range(len(wire))])
    if isinstance(whole[0], Reason):
        assert pieces[0] is whole[0]
        assert each[0] is whole[0]
    else:
        assert pieces == whole
        assert each == whole


@given(STREAMS)
@settings(max_examples=300)
def test_h11_reads_the_chunks_that_we_accept_alike(wire: bytes) -> None:
    outcome = drain(ChunkedBody(LIMITS), [wire])
    if len(outcome) == 4 and outcome[3]:
        content, rest, trailers, _ = outcome
        other = request_by_h11(HEAD + wire[: len(wire) - len(rest)])
        assert other is not None
        assert other.body == content
        assert other.trailers == lowered(trailers)


@given(st.lists(st.binary(max_size=40), max_size=6), st.booleans(), st.data())
def test_what_is_written_in_chunks_is_read_again(
    contents: list[bytes], with_trailers: bool, data: st.DataObject
) -> None:
    trailers: Fields = ((b"X-Sum", b"7"), (b"X-Empty", b"")) if with_trailers else ()
    wire = b"".join(chunk(content) for content in contents) + last_chunk(trailers) + b"next"
    places = data.draw(st.lists(st.integers(0, len(wire)), max_size=6))
    expected = (b"".join(contents), b"next", trailers, True)
    assert drain(ChunkedBody(LIMITS), cut(wire, places)) == expected
    other = request_by_h11(HEAD + wire[: -len(b"next")])
    assert other is not None
    assert other.body == b"".join(contents)


@given(st.integers(0, 30), st.binary(max_size=40), st.data())
def test_content_of_a_known_length(length: int, wire: bytes, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(wire)), max_size=4))
    body = LengthBody(length)
    expected = (wire[:length], wire[length:], (), len(wire) >= length)
    assert drain(body, cut(wire, places)) == expected
    assert body.eof() is (len(wire) >= length)


def test_a_piece_that_is_all_content_is_not_copied() -> None:
    piece = b"x" * 1000
    for body in (LengthBody(2000), UntilCloseBody()):
        assert body.feed(piece)[0][0] is piece
    chunked = ChunkedBody(LIMITS)
    chunked.feed(b"7d0\r\n")
    assert chunked.feed(piece)[0][0] is piece


def test_content_until_the_connection_closes() -> None:
    body = UntilCloseBody()
    assert drain(body, [b"ab", b"", b"c"]) == (b"abc", b"", (), False)
    assert body.eof()
    assert body.done


def test_chunked_content_that_stops_is_not_whole() -> None:
    body = ChunkedBody(LIMITS)
    assert drain(body, [b"3\r\nabc\r\n0\r\n"])[0] == b"abc"
    assert not body.eof()
    assert drain(body, [b"\r\nnext"])[1] == b"next"
    assert body.eof()
    assert body.feed(b"more") == ([], 0)


def test_what_is_kept_back_is_bounded() -> None:
    for start, limit in ((b"5;", LIMITS.chunk_line_bytes), (b"0\r\nX: ", LIMITS.trailer_bytes)):
        body = ChunkedBody(LIMITS)
        body.feed(start)
        taken = next(count for count in range(limit + 1) if refuses(body, b"x"))
        assert limit - len(start) - 1 <= taken <= limit


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python ``work`` runs: its cost, without a clock."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(former)
    return count


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (b"0\r\n", b"a:\r\n"),
        (b"0\r\na:", b"xxxx"),
        (b"", b"1\r\na\r\n"),
        (b"", b"01;x=y\r\na\r\n"),
        (b"", b"4;" + b"x" * 40 + b"\r\nabcd\r\n"),
        (b"1;", b"xxxx"),
    ],
)
def test_the_work_grows_no_faster_than_the_bytes(start: bytes, repeated: bytes) -> None:
    limits = Limits(head_fields=10**6, trailer_bytes=10**6, chunk_line_bytes=10**6)

    def cost(times: int, size: int) -> int:
        wire = start + repeated * times
        body = ChunkedBody(limits)
        pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
        return lines_run(lambda: drain(body, pieces))

    for size in (1, 3, 10**6):
        assert cost(200, size) < 5 * cost(50, size)


def test_trailers_are_scanned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scanned = 0

    def counting(data: bytes, start: int) -> tuple[int, bool]:
        nonlocal scanned
        scanned += len(data) - start
        return scan_fields(data, start)

    monkeypatch.setattr(module, "scan_fields", counting)
    fields = [(b"X-%d" % number, b"v") for number in range(LIMITS.head_fields)]
    wire = last_chunk(tuple(fields))
    content = drain(ChunkedBody(LIMITS), [wire[at : at + 1] for at in range(len(wire))])
    assert content == (b"", b"", tuple(fields), True)
    longest = max(len(name) + len(value) for name, value in fields) + len(b": \r\n")
    assert scanned <= len(wire) * longest


def test_too_many_trailers_are_refused_before_they_have_all_come() -> None:
    most = LIMITS.head_fields
    body = ChunkedBody(LIMITS)
    assert not refuses(body, b"0\r\n" + b"a:\r\n" * most)
    assert refuses(body, b"a:\r\n")
    for size in (1, 10**6):
        wire = b"0\r\n" + b"a:\r\n" * most + b"\r\n"
        pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
        assert drain(ChunkedBody(LIMITS), pieces)[2:] == (((b"a", b""),) * most, True)


def test_limits_are_those_given() -> None:
    small = Limits(chunk_line_bytes=8, trailer_bytes=16, head_fields=1)
    assert drain(ChunkedBody(small), [b"1;abcd\r\na\r\n" + LAST_CHUNK])[0] == b"a"
    assert drain(ChunkedBody(small), [b"1;abcde\r\na\r\n"]) == (Reason.BAD_CHUNK, b"")
    assert drain(ChunkedBody(small), [b"0\r\nA: 5678901\r\n\r\n"])[3:] == (True,)
    assert drain(ChunkedBody(small), [b"0\r\nA: 56789012345\r\n\r\n"])[0] is Reason.BAD_TRAILER
    assert drain(ChunkedBody(small), [b"0\r\nA:\r\nB:\r\n\r\n"])[0] is Reason.BAD_TRAILER


def test_a_server_that_chunks_wrongly_speaks_no_http() -> None:
    for wire in (b"g\r\n", b"1\r\naXX", b"0\r\nbad\r\n\r\n", b"0\r\nHost: a\r\n\r\n"):
        body = reader(CHUNKED, LIMITS, upstream=True)
        assert drain(body, [wire])[0] is Reason.UPSTREAM_NOT_HTTP


def test_the_reader_of_each_framing() -> None:
    assert isinstance(reader(CHUNKED, LIMITS), ChunkedBody)
    assert isinstance(reader(UNTIL_CLOSE, LIMITS), UntilCloseBody)
    assert reader(None, LIMITS).done
    assert reader(0, LIMITS).done
    assert not reader(1, LIMITS).done


def test_an_empty_piece_is_no_chunk() -> None:
    assert chunk(b"") == b""
    assert chunk(b"a" * 26) == b"1a\r\n" + b"a" * 26 + b"\r\n"


def test_the_last_chunk_is_what_h11_sends() -> None:
    connection = h11.Connection(h11.CLIENT)
    connection.send(
        h11.Request(
            method="POST", target="/", headers=[("Host", "a"), ("Transfer-Encoding", "chunked")]
        )
    )
    assert connection.send(h11.EndOfMessage()) == last_chunk()
