"""What we accept, h11 and llhttp read as we do; the rules by which we are stricter are listed."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch

import pytest
from hypothesis import given, settings

from l7proxy.http.framing import CHUNKED
from l7proxy.http.refused import Refused
from l7proxy.http.request import parse_request
from tests.http.corpus import Case, load_cases
from tests.http.others import Message, lowered, request_by_h11, request_by_llhttp
from tests.http.reading import LIMITS, Incomplete, Reading, read_request
from tests.http.strategies import requests, valid_heads

CASES = load_cases()
READERS = {"h11": request_by_h11, "llhttp": request_by_llhttp}

# Methods outside llhttp's own list are refused by it, and h11 takes no empty line in front.
LLHTTP_METHODS = {b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE", b"PUT", b"PURGE"}

# Every rule by which we refuse what another reader accepts, with the cases that show it.
STRICTER: dict[str, dict[str, tuple[str, ...]]] = {
    "h11": {
        "one line end, CRLF": ("line-ends/bare-lf-*",),
        "no line folding": ("header-names/folded-line", "header-names/line-of-spaces"),
        "no control bytes in values": (
            "header-values/control-byte-in-value",
            "header-values/escape-in-value",
            "header-values/delete-in-value",
        ),
        "Connection names no field of the message": ("header-values/connection-*",),
        "Content-Length once": (
            "content-length/two-equal-lengths",
            "content-length/length-list",
        ),
        "never a length with a coding": (
            "smuggling/length-then-coding",
            "smuggling/coding-then-length",
            "smuggling/length-and-coding-on-http10",
        ),
        "no coding on HTTP/1.0": ("transfer-encoding/coding-on-http10",),
        "chunk lines without white space and control bytes": (
            "chunked/space-after-size",
            "chunked/*-in-extension",
        ),
        "bounded chunk lines and trailers": ("chunked/extension-too-long", "chunked/trailers-*"),
        "trailers as strict as the head": ("chunked/folded-trailer", "chunked/bare-lf-in-trailers"),
        "no framing or credentials in trailers": ("chunked/*-as-trailer",),
        "Host is a host": ("host/empty-host", "host/host-*"),
        "an absolute form is Host's": ("target/absolute-form-other-*",),
        "a target is a path or an http URI": (
            "target/absolute-form-userinfo",
            "target/absolute-form-empty-authority",
            "target/absolute-form-https",
            "target/other-scheme",
            "target/authority-form-without-connect",
            "target/relative-path",
            "target/get-asterisk",
        ),
        "no fragment and no backslash": ("target/fragment*", "target/backslash*"),
        "a path has one reading": ("normalisation/*",),
        "only 1.0 and 1.1": ("versions/http*", "request-line/http2-preface"),
        "no CONNECT": ("request-line/connect*",),
        "nothing before the answer to an upgrade": ("upgrade/bytes-before-the-answer",),
        "our limits": ("limits/*",),
    },
    "llhttp": {
        "no white space but one SP": (
            "request-line/two-spaces-*",
            "request-line/two-empty-lines-before",
            "line-ends/bare-lf-before-request-line",
        ),
        "no HTTP/0.9": ("request-line/no-version", "versions/http09"),
        "only 1.0 and 1.1": ("versions/http20",),
        "Connection names no field of the message": ("header-values/connection-*",),
        "only chunked": ("transfer-encoding/gzip-chunked",),
        "no coding on HTTP/1.0": ("transfer-encoding/coding-on-http10",),
        "bounded chunk lines and trailers": ("chunked/extension-too-long", "chunked/trailers-*"),
        "no framing or credentials in trailers": ("chunked/authorization-as-trailer",),
        "Host is there, once, and a host": ("host/*",),
        "an absolute form is Host's": (
            "target/absolute-form-other-*",
            "target/absolute-form-without-host",
        ),
        "a target is a path or an http URI": (
            "target/absolute-form-userinfo",
            "target/absolute-form-empty-authority",
            "target/absolute-form-https",
            "target/other-scheme",
            "target/get-asterisk",
        ),
        "no fragment and no backslash": ("target/fragment*", "target/backslash*"),
        "a path has one reading": ("normalisation/*",),
        "no CONNECT": ("request-line/connect*",),
        "nothing before the answer to an upgrade": ("upgrade/bytes-before-the-answer",),
        "our limits": ("limits/*",),
    },
}


def assert_same(reading: Reading, other: Message | None) -> None:
    request = reading.request
    assert other is not None
    assert other.start == (request.method, request.target)
    assert other.headers == lowered(request.headers)
    assert other.body == reading.body
    assert other.trailers == lowered(reading.trailers)
    if other.keep_alive is not None:
        assert other.keep_alive == request.keep_alive


def compare(wire: bytes) -> bool:
    """If we accept ``wire``, the others must, and find the same in it. Whether we do."""
    try:
        reading = read_request([wire])
    except (Refused, Incomplete):
        return False
    message = wire[: len(wire) - len(reading.rest)].removeprefix(b"\r\n")
    assert_same(reading, request_by_h11(message))
    if reading.request.method in LLHTTP_METHODS and not confuses_llhttp(reading):
        assert_same(reading, request_by_llhttp(message))
    return True


def confuses_llhttp(reading: Reading) -> bool:
    """llhttp stops at any Upgrade, content or not, and lets keep-alive win over close on 1.0."""
    options = b",".join(
        value.lower() for name, value in reading.request.headers if name.lower() == b"connection"
    )
    return b"upgrade" in options or (b"close" in options and b"keep-alive" in options)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.reason is None], ids=lambda case: case.id
)
def test_what_we_accept_they_accept_alike(case: Case) -> None:
    assert compare(case.wire)


@given(requests())
@settings(max_examples=400)
def test_what_we_accept_of_random_requests_they_accept_alike(wire: bytes) -> None:
    compare(wire)


@given(valid_heads())
def test_every_valid_head_is_read_alike(head: bytes) -> None:
    content = {CHUNKED: b"5\r\nhello\r\n0\r\n\r\n", 5: b"hello"}
    framing = parse_request(head, LIMITS).framing
    assert compare(head + content.get(framing, b""))


@pytest.mark.parametrize("name", READERS)
def test_where_we_are_stricter_is_listed(name: str) -> None:
    reader: Callable[[bytes], Message | None] = READERS[name]
    stricter = {case.id for case in CASES if case.reason is not None and reader(case.wire)}
    patterns = [pattern for rule in STRICTER[name].values() for pattern in rule]
    unlisted = {
        case_id for case_id in stricter if not any(fnmatch(case_id, each) for each in patterns)
    }
    stale = {each for each in patterns if not any(fnmatch(case_id, each) for case_id in stricter)}
    assert (unlisted, stale) == (set(), set())
