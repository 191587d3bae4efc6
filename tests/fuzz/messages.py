"""HTTP/1 as the proxy reads it: the same however it is cut, never more than the automata take,
and nothing that h11 and llhttp read otherwise."""

from __future__ import annotations

import random
from collections.abc import Iterator

from l7proxy.http.forward import request_head
from l7proxy.http.framing import CHUNKED
from l7proxy.http.refused import Refused
from l7proxy.http.request import Request, parse_request
from l7proxy.limits import Limits
from l7proxy.observe.glimpse import glimpse
from tests.compiler import test_head_request, test_head_response
from tests.fuzz.target import Target
from tests.http import test_response
from tests.http.corpus import load_cases
from tests.http.reading import Incomplete, Reading, cut, read_request
from tests.kernel.readers import read_alike

_WRITTEN_ANEW = {b"content-length", b"x-forwarded-for", b"x-request-id", b"upgrade"}
METHODS = (b"GET", b"HEAD", b"POST")
CUTS = 3
ROOMIER = Limits(head_bytes=65536, head_fields=200)
"""For a head with the fields that the proxy adds."""


def requests(wire: bytes) -> None:
    whole = _outcome([wire])
    for pieces in _ways(wire):
        assert _outcome(pieces) == whole, pieces
        test_head_request.check(wire, pieces)
    if isinstance(whole, Reading):
        message = wire[: len(wire) - len(whole.rest)]
        read_alike(message)
        _check_forwarded(whole.request)
        _check_glimpse(message, whole.request)


def _ways(wire: bytes) -> Iterator[list[bytes]]:
    """All at once, byte by byte, and cut at places that the wire itself decides."""
    yield [wire]
    yield [wire[at : at + 1] for at in range(len(wire))]
    source = random.Random(wire)
    yield cut(wire, [source.randint(0, len(wire)) for _ in range(CUTS)])


def _outcome(pieces: list[bytes]) -> object:
    try:
        return read_request(pieces)
    except Refused as refused:
        assert refused.detail.isprintable()
        return refused.reason, refused.location
    except Incomplete:
        return None


def _check_forwarded(request: Request) -> None:
    """What is sent on is read again as the request that was decided."""
    head = request_head(
        request, client_address=b"10.0.0.1", request_id=b"id", default_host=b"server"
    )
    again = parse_request(head, ROOMIER)
    assert (again.method, again.path, again.target) == (request.method, request.path, request.path)
    assert again.host == (request.host or b"server")
    assert (again.framing, again.upgrade) == (request.framing, request.upgrade)
    for name in request.index.keys() - _WRITTEN_ANEW:
        if name not in request.dropped:
            assert again.header(name) == request.header(name), name
    assert not again.index.keys() & (request.dropped - {b"connection", b"upgrade"}) - (
        {b"transfer-encoding"} if request.framing is CHUNKED else set()
    )


def _check_glimpse(message: bytes, request: Request) -> None:
    """A record of the kernel road names the request that it was."""
    found = glimpse(message)
    assert (found.method, found.target) == (request.method, request.target)
    if b"host" in request.index:
        assert found.host.lower() == request.index[b"host"].lower()
    if isinstance(request.framing, int):
        assert found.length == request.framing
    assert not found.cut


def responses(wire: bytes) -> None:
    for upgrade in (False, True):
        for pieces in _ways(wire):
            test_head_response.check(wire, METHODS, pieces, upgrade=upgrade)
    test_response.read_alike(wire)


def request_seeds() -> Iterator[bytes]:
    for case in load_cases():
        if len(case.wire) <= REQUESTS.most_bytes:
            yield case.wire
    for fields in test_head_request.SMUGGLED:
        yield test_head_request.HEAD + fields + b"\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
    for size in (b"5", b"0" * 15 + b"5", b"0" * 16 + b"5", b"f" * 15, b"f" * 16, b"5;a=b"):
        fields = b"Transfer-Encoding: chunked\r\n"
        yield test_head_request.HEAD + fields + b"\r\n" + size + b"\r\nhello\r\n0\r\n\r\n"


def response_seeds() -> Iterator[bytes]:
    contents = test_head_response.CONTENTS
    for number, line in enumerate(test_head_response.LINES):
        yield line + b"\r\n\r\n"
        yield line + b"\r\nContent-Length: 5\r\n\r\nhello" + line + b"\r\n\r\n"
        yield line + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + contents[number % len(contents)]
    for field in test_head_response.FIELDS:
        yield b"HTTP/1.1 200 OK\r\n" + field + b"\r\n\r\nhello"


_TOKENS = (
    *(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n", b"\r\n\r\n", b"\r\n", b"\n", b"\r", b" ", b"\t", b":"),
    *(b"\r\nHost: a", b"\r\nContent-Length: 5", b"\r\nTransfer-Encoding: chunked", b", chunked"),
    *(b"\r\nConnection: ", b"close", b"keep-alive", b"upgrade", b"\r\nUpgrade: websocket", b"h2c"),
    *(b"\r\nExpect: 100-continue", b"\r\nX-Key: v", b"\r\nTE: trailers", b"\r\nTrailer: x"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffffffffffff", b";a=b", b"\x00", b"\xff", b"\x7f"),
)
_REQUEST_TOKENS = (
    *(b"GET ", b"HEAD ", b"POST ", b"OPTIONS * ", b"CONNECT a:80 ", b"PRI * HTTP/2.0\r\n\r\nSM"),
    *(b"http://a/", b"/../", b"%2f", b"%2e", b"#", b"?", b"[::1]:80", b"GET / HTTP/1.1\r\nHost: a"),
)
_RESPONSE_TOKENS = (
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 x\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    *(b"HTTP/1.1 304 x\r\n", b"HTTP/1.1 204 x\r\n", b"HTTP/1.0 200 OK\r\n"),
)

REQUESTS = Target(requests, request_seeds, _TOKENS + _REQUEST_TOKENS, most_bytes=2048)
RESPONSES = Target(responses, response_seeds, _TOKENS + _RESPONSE_TOKENS, most_bytes=1024)
