"""How long a message's content is (RFC 9112 6), where there is exactly one answer."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, Literal

from l7proxy.http.refused import Refused
from l7proxy.reasons import Reason


class Framing(Enum):
    """Framings that are not a known length."""

    CHUNKED = "chunked"
    UNTIL_CLOSE = "until-close"


CHUNKED: Final = Framing.CHUNKED
UNTIL_CLOSE: Final = Framing.UNTIL_CLOSE

RequestFraming = int | Literal[Framing.CHUNKED] | None
ResponseFraming = int | Framing | None

# RFC 9110 8.6: Content-Length = 1*DIGIT. Eighteen digits stay below 2**63 for every reader.
_LENGTH = re.compile(rb"[0-9]{1,18}")


def read_framing(length: bytes | None, coding: bytes | None, minor_version: int) -> RequestFraming:
    """The framing that Content-Length and Transfer-Encoding (repeats joined) declare.

    None when neither is there. Raises Refused: LENGTH_AND_CODING, CODING_ON_HTTP10, BAD_CODING,
    BAD_CONTENT_LENGTH.
    """
    if coding is None:
        return None if length is None else read_length(length)
    if length is not None:
        # RFC 9112 6.1: "A server MAY reject a request that contains both Content-Length and
        # Transfer-Encoding"; 6.3: "Such a message might indicate an attempt to perform request
        # smuggling [...] or response splitting [...] and ought to be handled as an error."
        raise Refused(Reason.LENGTH_AND_CODING, "Content-Length together with Transfer-Encoding")
    if minor_version == 0:
        # RFC 9112 6.1: "A server or client that receives an HTTP/1.0 message containing a
        # Transfer-Encoding header field MUST treat the message as if the framing is faulty".
        raise Refused(Reason.CODING_ON_HTTP10, "Transfer-Encoding on HTTP/1.0")
    if coding.lower() != b"chunked":
        # RFC 9112 6.1: "A server that receives a request message with a transfer coding it does
        # not understand SHOULD respond with 501 (Not Implemented)."
        raise Refused(Reason.BAD_CODING, f"Transfer-Encoding is {coding[:40]!r}, not chunked")
    return CHUNKED


def read_length(value: bytes) -> int:
    """The number of a Content-Length field; a repeated or listed one is refused, equal or not.

    RFC 9112 6.3: "If a message is received without Transfer-Encoding and with an invalid
    Content-Length header field, then the message framing is invalid and the recipient MUST treat
    it as an unrecoverable error". Raises Refused(BAD_CONTENT_LENGTH).
    """
    if not _LENGTH.fullmatch(value):
        raise Refused(Reason.BAD_CONTENT_LENGTH, f"Content-Length is {value[:40]!r}")
    return int(value)
