"""Where a head ends, and the earliest byte that makes it malformed.

A head is judged in the order of its bytes, so that the same bytes get the same reason whether
they come at once or one at a time, and a client that cannot become right is told at once. What
needs the whole head (Host, framing, the form of the target) is judged in ``request``.
"""

from __future__ import annotations

from typing import NoReturn

from l7proxy.http.grammar import TARGET, TOKEN, VALUE
from l7proxy.http.refused import Refused
from l7proxy.limits import Limits
from l7proxy.reasons import Reason

Buffer = bytes | bytearray

_TAB, _LF, _CR, _SPACE, _COLON = b"\t\n\r :"
_PREFACE = b"PRI * HTTP/2"
_VERSION = b"HTTP/d.d"
_DIGITS = frozenset(b"0123456789")
_VERSIONS = frozenset((b"HTTP/1.0", b"HTTP/1.1"))


def find_end(buffer: Buffer, start: int = 0) -> int:
    """The offset just after the empty line that ends a head, or -1 when it has not come yet.

    Looks from ``start`` on: the head's first byte, or, to spare looking twice, three bytes before
    the end of what an earlier call has seen.
    """
    end = buffer.find(b"\r\n\r\n", start)
    return end + 4 if end >= 0 else -1


def check_partial(buffer: Buffer, limits: Limits, checked: int = 0) -> int:
    """Refuse a request head that is not complete yet and can no longer become a valid one.

    ``buffer`` starts with the head. ``checked`` is what an earlier call with fewer bytes of the
    same head returned: the start of the first line not yet judged. Returns that offset.

    Raises Refused: NOT_HTTP for TLS and the HTTP/2 preface, HEAD_TOO_LARGE and TARGET_TOO_LONG
    as soon as a limit is passed, BAD_LINE_END, and whatever else a line is malformed by.
    """
    data = bytes(buffer[: limits.head_bytes])
    if checked == 0:
        checked = _request_line(data, limits)
    if checked > 0:
        checked, _ = scan_fields(data, checked)
    if len(buffer) > limits.head_bytes:
        raise Refused(Reason.HEAD_TOO_LARGE, f"the head is over {limits.head_bytes} bytes")
    return checked


def explain_request(head: bytes, limits: Limits) -> NoReturn:
    """Raise the Refused of a complete request head that the grammar did not match."""
    check_partial(head, limits)
    raise Refused(Reason.BAD_REQUEST_LINE, "the head does not end where it was said to end")


def check_partial_response(buffer: Buffer, limits: Limits, checked: int = 0) -> int:
    """Refuse, with UPSTREAM_NOT_HTTP, an incomplete response head that cannot become valid.

    ``checked`` is what an earlier call with fewer bytes of the same head returned, so that none
    of them is looked at again.
    """
    start = bytes(buffer[:7])
    if not b"HTTP/1.".startswith(start):
        raise Refused(Reason.UPSTREAM_NOT_HTTP, f"the response starts with {start!r}")
    if len(buffer) > limits.head_bytes:
        raise Refused(
            Reason.UPSTREAM_NOT_HTTP, f"the response head is over {limits.head_bytes} bytes"
        )
    if buffer.count(b"\n", checked) != buffer.count(b"\r\n", checked):
        raise Refused(Reason.UPSTREAM_NOT_HTTP, "a bare LF in the response head")
    # A CR at the end may be the first half of a line's end.
    return len(buffer) - buffer.endswith(b"\r")


def _request_line(data: bytes, limits: Limits) -> int:
    """The offset after the request line, 0 when it is incomplete. Raises Refused."""
    start = 0
    if data[:1] == b"\r":
        # RFC 9112 2.2: one empty line before the request line is ignored.
        if len(data) > 1 and data[1] != _LF:
            raise Refused(Reason.BAD_LINE_END, "a bare CR before the request line")
        start = 2
    if len(data) <= start:
        return 0
    first = data[start]
    if (first < _SPACE and first not in (_CR, _LF)) or first > 0x7E:
        # A TLS record starts with 0x16 (RFC 8446 5.1), an SSLv2 hello with 0x80.
        raise Refused(Reason.NOT_HTTP, f"the first byte is 0x{first:02x}")
    if first == _CR:
        raise Refused(Reason.BAD_REQUEST_LINE, "more than one empty line before the request line")
    if data.startswith(_PREFACE, start):
        # RFC 9113 3.4: the connection preface of HTTP/2 starts "PRI * HTTP/2.0".
        raise Refused(Reason.NOT_HTTP, "an HTTP/2 connection preface")
    method = TOKEN.match(data, start)
    end = method.end() if method else start
    if end == len(data):
        return 0
    if data[end] != _SPACE or end == start:
        return _broken_line(data, end, Reason.BAD_REQUEST_LINE, "in the method")
    return _target_and_version(data, end + 1, limits)


def _target_and_version(data: bytes, start: int, limits: Limits) -> int:
    target = TARGET.match(data, start)
    end = target.end() if target else start
    if end - start > limits.target_bytes:
        raise Refused(Reason.TARGET_TOO_LONG, f"the target is over {limits.target_bytes} bytes")
    if end == len(data):
        return 0
    if data[end] in (_CR, _LF) or (data[end] == _SPACE and end == start):
        return _broken_line(data, end, Reason.BAD_REQUEST_LINE, "in the request line")
    if data[end] != _SPACE:
        raise Refused(Reason.BAD_TARGET, f"byte 0x{data[end]:02x} in the target")
    version = data[end + 1 : end + 9]
    for offset, (byte, expected) in enumerate(zip(version, _VERSION, strict=False)):
        if byte not in _DIGITS if expected == ord("d") else byte != expected:
            at = end + 1 + offset
            return _broken_line(data, at, Reason.BAD_REQUEST_LINE, "in the version")
    if len(version) < len(_VERSION):
        return 0
    if version not in _VERSIONS:
        raise Refused(Reason.BAD_VERSION, f"version {version.decode()}")
    return _line_end(data, end + 9, Reason.BAD_REQUEST_LINE, "after the version")


def scan_fields(data: bytes, start: int) -> tuple[int, bool]:
    """Judge field lines from ``start``, the start of a line.

    Returns the start of the first line that is incomplete and False, or the end of the section
    (after its empty line) and True. Raises Refused at the earliest malformed byte.
    """
    while start < len(data):
        if data[start] == _CR:
            end = _line_end(data, start, Reason.BAD_LINE_END, "")
            return (end, True) if end else (start, False)
        if data[start] in (_SPACE, _TAB):
            # RFC 9112 5.2: "A server that receives an obs-fold in a request message that is not
            # within a "message/http" container MUST either reject the message by sending a 400".
            # 2.2 has the same for whitespace before the first field.
            raise Refused(Reason.LINE_FOLDING, "a field line starts with whitespace")
        name = TOKEN.match(data, start)
        end = name.end() if name else start
        if end == len(data):
            return start, False
        if data[end] != _COLON or end == start:
            # RFC 9112 5.1: "A server MUST reject, with a response status code of 400 (Bad
            # Request), any received request message that contains whitespace between a header
            # field name and colon."
            _broken_line(data, end, Reason.BAD_HEADER_NAME, "in a field name")
            return start, False
        value = VALUE.match(data, end + 1)
        end = _line_end(
            data,
            value.end() if value else end + 1,
            Reason.BAD_HEADER_VALUE,
            f"in the value of {data[start:end][:40].decode()}",
        )
        if end == 0:
            return start, False
        start = end
    return start, False


def _line_end(data: bytes, at: int, otherwise: Reason, where: str) -> int:
    """The offset after the CRLF at ``at``, 0 when it may still come. Raises Refused.

    RFC 9112 2.2: "Although the line terminator for the start-line and fields is the sequence
    CRLF, a recipient MAY recognize a single LF": not here, where another reader may not. "A
    recipient of such a bare CR MUST consider that element to be invalid".
    """
    pair = data[at : at + 2]
    if pair == b"\r\n":
        return at + 2
    if pair in (b"", b"\r"):
        return 0
    _broken_line(data, at, otherwise, where)
    return 0


def _broken_line(data: bytes, at: int, otherwise: Reason, where: str) -> int:
    """Raise the Refused for the byte at ``at``, which does not belong there.

    A bare CR or LF is a line-end fault; a CRLF, or another byte, is the fault ``otherwise``.
    Returns 0 for a CR whose next byte has not come.
    """
    byte = data[at]
    if byte == _LF:
        raise Refused(Reason.BAD_LINE_END, f"a bare LF {where}".rstrip())
    if byte == _CR:
        if at + 1 == len(data):
            return 0
        if data[at + 1] != _LF:
            raise Refused(Reason.BAD_LINE_END, f"a bare CR {where}".rstrip())
        raise Refused(otherwise, f"the line ends {where}")
    raise Refused(otherwise, f"byte 0x{byte:02x} {where}")
