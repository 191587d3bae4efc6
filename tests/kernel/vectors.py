"""Streams of requests, and the ways to cut them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from tests.compiler.test_head_request import CHUNKS, HEAD, SMUGGLED, SMUGGLING
from tests.http.corpus import load_cases
from tests.http.reading import cut
from tests.http.strategies import requests, valid_heads
from tests.kernel.case import Case
from tests.kernel.play import Conduct

__all__ = ["HEAD", "SMUGGLED"]

CORPUS = load_cases()

_LINES = st.sampled_from(
    [
        *(b"GET /a", b"GET /a?b=c", b"GET /", b"GET /~", b"GET /x;y", b"HEAD /a", b"HEAD /~"),
        *(b"POST /a", b"POST /~", b"PUT /", b"PUT /~/b", b"DELETE /a", b"OPTIONS *", b"PATCH /a"),
        *(b"GET //a", b"GET /%2e/a", b"GET /a%2fb", b"GET http://users/a", b"GET /" + b"l" * 200),
    ]
)
_HOSTS = st.sampled_from([b"users"] * 12 + [b"Users:80", b"other", b"[::1]:8080", b"[::1.2.3.4]"])
_FIELDS = st.sampled_from(
    [
        *(b"X-Key: v", b"X-Key:v ", b"x-key: w", b"X-Key: x", b"X-Keys: w", b"Accept: */*"),
        *(b"X-Long: " + b"x" * 150, b"Connection: close", b"Connection: keep-alive"),
        *(b"Connection: x-key", b"Connection: x-other, close", b"X_Key: v"),
    ]
)
_CONTENTS = st.sampled_from(
    [
        *[(b"", b"")] * 6,
        *[(b"Content-Length: 5\r\n", b"hello")] * 2,
        *[(b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n")] * 2,
        (b"Transfer-Encoding: chunked\r\n", b"2;x=y\r\nhi\r\n3\r\nyou\r\n0\r\nX-T: 1\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nhelloX\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"0\r\nHost: b\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"g\r\n"),
        (b"Content-Length: 0\r\n", b""),
        (b"Content-Length: 39\r\n", b"GET /smuggled HTTP/1.1\r\nHost: users\r\n\r\n"),
        (b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"hello"),
        (b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", b"1\r\nx\r\n0\r\n\r\n"),
        (b"Content-Length: 3000\r\n", b"z" * 3000),
    ]
)


@st.composite
def apt(draw: st.DrawFn) -> bytes:
    """A request that the policy has something to say about; mostly a good one."""
    version = draw(st.sampled_from([b" HTTP/1.1\r\n"] * 8 + [b" HTTP/1.0\r\n"]))
    fields = [b"Host: " + draw(_HOSTS)]
    for field in draw(st.lists(_FIELDS, max_size=2)):
        fields.insert(draw(st.integers(0, len(fields))), field)
    framing, content = draw(_CONTENTS)
    head = draw(_LINES) + version + b"".join(field + b"\r\n" for field in fields)
    return head + framing + b"\r\n" + content


@st.composite
def smuggling(draw: st.DrawFn) -> bytes:
    """Framings that some reader takes for another."""
    return HEAD.replace(b"Host: a", b"Host: users") + draw(SMUGGLING) + b"\r\n" + draw(CHUNKS)


@st.composite
def filled(draw: st.DrawFn) -> bytes:
    """A valid head with the content that it tells of."""
    head = draw(valid_heads())
    lower = head.lower()
    if b"content-length: 5" in lower:
        return head + b"hello"
    if b"transfer-encoding" in lower:
        return head + b"5\r\nhello\r\n0\r\n\r\n"
    return head


ONE = st.one_of(
    apt(),
    apt(),
    apt(),
    filled(),
    requests(),
    smuggling(),
    st.sampled_from([case.wire for case in CORPUS if len(case.wire) < 2000]),
)
STREAMS = st.one_of(
    st.lists(apt(), min_size=1, max_size=6),
    st.lists(apt(), min_size=4, max_size=12),
    st.lists(ONE, min_size=1, max_size=4),
)


class Cut:
    """Ways to cut a stream of requests into what is sent at once."""

    @staticmethod
    def requests(wires: Sequence[bytes]) -> list[bytes]:
        return list(wires)

    @staticmethod
    def whole(wires: Sequence[bytes]) -> list[bytes]:
        return [b"".join(wires)]

    @staticmethod
    def bytewise(wires: Sequence[bytes]) -> list[bytes]:
        """Each byte by itself, where that is not too long."""
        wire = b"".join(wires)
        step = 1 + len(wire) // 120
        return [wire[at : at + step] for at in range(0, len(wire), step)]

    @staticmethod
    def line_ends(wires: Sequence[bytes]) -> list[bytes]:
        """In the middle of every CRLF."""
        wire = b"".join(wires)
        return cut(wire, [at + 1 for at, byte in enumerate(wire[:-1]) if byte == 13][:60])

    @staticmethod
    def heads(wires: Sequence[bytes]) -> list[bytes]:
        """Between heads and contents."""
        pieces = []
        for wire in wires:
            head, end, content = wire.partition(b"\r\n\r\n")
            pieces += [head + end, content]
        return pieces


@st.composite
def cuts(draw: st.DrawFn, wires: Sequence[bytes]) -> list[bytes]:
    """Some pieces of the stream."""
    match draw(st.integers(0, 9)):
        case 0:
            return Cut.bytewise(wires)
        case 1:
            return Cut.line_ends(wires)
        case 2:
            return Cut.heads(wires)
        case 3 | 4:
            return Cut.whole(wires)
        case 5 | 6:
            wire = b"".join(wires)
            return cut(wire, draw(st.lists(st.integers(0, len(wire)), max_size=5)))
        case _:
            pieces, at = [], 0
            while at < len(wires):
                size = draw(st.integers(1, 4))
                pieces.append(b"".join(wires[at : at + size]))
                at += size
            return pieces


@st.composite
def cases(draw: st.DrawFn, road: str) -> Case:
    """A case for a road. Now and then messages are repeated: what was read before is known."""
    wires = draw(STREAMS)
    if draw(st.integers(0, 3)) == 0:
        wires = [wire for wire in wires for _ in range(draw(st.integers(1, 3)))][:12]
    pieces = tuple(piece for piece in draw(cuts(wires)) if piece) or (b"GET",)
    conduct = draw(st.sampled_from(Conduct))
    return Case(road, conduct, pieces, eager=draw(st.integers(0, 9)) == 0)
