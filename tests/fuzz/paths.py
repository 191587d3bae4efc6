"""The path normaliser: one spelling, which no later reader finds another meaning in."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from l7proxy.compiler import alphabets
from l7proxy.http.normalize import has_escaped_slash, is_normal, normalize
from l7proxy.http.refused import Refused
from l7proxy.http.request import parse_request
from l7proxy.reasons import Reason
from tests.compiler.head_reading import LIMITS, request_by_machine
from tests.fuzz.target import Target
from tests.http.corpus import load_cases

_QUERY = b"?//..%2e%"
_HEX = b"0123456789abcdefABCDEF"


def run(data: bytes) -> None:
    path = b"/" + data.replace(b"?", b"")
    expected = _by_rfc3986(path)
    try:
        normal: bytes | None = normalize(path)
    except Refused as refused:
        assert refused.reason is Reason.BAD_PATH_ENCODING
        normal = None
    assert normal == expected
    assert is_normal(path) == (normal == path)
    if normal is not None:
        assert normalize(normal) == normal
        assert is_normal(normal)
        assert not has_escaped_slash(normal)
        # A server that decodes the path and then resolves it goes to where the rules said.
        decoded = unquote_to_bytes(normal)
        assert _resolved(decoded) == decoded
    if alphabets.is_made_of(path, alphabets.PATH):
        _check_head(path, normal)


def _by_rfc3986(path: bytes) -> bytes | None:
    """The same by the letter of RFC 3986 5.2.4; None for what must be refused."""
    first, *escapes = path.split(b"%")
    for escape in escapes:
        digits, rest = escape[:2], escape[2:]
        if len(digits) < 2 or any(digit not in _HEX for digit in digits) or digits == b"00":
            return None
        byte = bytes.fromhex(digits.decode())
        if byte in (b"/", b"\\"):
            byte = b"/"
        elif not (byte.isalnum() or byte in (b"-", b".", b"_", b"~")):
            byte = b"%" + digits
        first += byte + rest
    return _resolved(first)


def _resolved(path: bytes) -> bytes:
    """Without dot segments, and repeated slashes merged after that."""
    left, done = path, b""
    while left:
        if left.startswith(b"/./") or left == b"/.":
            left = b"/" + left[3:]
        elif left.startswith(b"/../") or left == b"/..":
            left = b"/" + left[4:]
            done = done.rpartition(b"/")[0]
        else:
            end = left.find(b"/", 1)
            end = len(left) if end < 0 else end
            done, left = done + left[:end], left[end:]
    while b"//" in done:
        done = done.replace(b"//", b"/")
    return done


def _check_head(path: bytes, normal: bytes | None) -> None:
    """A request for the path is decided by the normal one; the automaton reads no other."""
    for query in (b"", _QUERY):
        head = b"GET " + path + query + b" HTTP/1.1\r\nHost: a\r\n\r\n"
        cause = request_by_machine([head])[0].cause
        assert (cause is None) == (normal == path)
        try:
            request = parse_request(head, LIMITS)
        except Refused as refused:
            if normal is None:
                assert refused.reason is Reason.BAD_PATH_ENCODING
            else:
                assert refused.reason is Reason.ESCAPED_SLASH
                assert refused.location == normal + query
                assert has_escaped_slash(path)
        else:
            assert normal is not None
            assert not has_escaped_slash(path)
            assert request.path == normal + query


def seeds() -> Iterator[bytes]:
    for case in load_cases():
        target = case.wire.split(b" ", 2)[1:2]
        if target and target[0].startswith(b"/") and len(target[0]) < TARGET.most_bytes:
            yield target[0][1:]
    yield from (b"a//../b", b"%252e%252e/", b"%2e%2E//.%2e/", b"a;x=1/../y", b"..", b"./..//")


TOKENS = (
    *(b"/", b"//", b".", b"..", b"/../", b"/./", b"%2e", b"%2E", b"%2f", b"%5C", b"%25", b"%00"),
    *(b"%41", b"%7e", b"%c3", b"%", b"%3F", b"%23", b"\\", b";"),
)

TARGET = Target(run, seeds, TOKENS, most_bytes=256)
