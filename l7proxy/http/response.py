"""The meaning of a response head from a server, or the reason why it has none."""

from __future__ import annotations

from dataclasses import dataclass

from l7proxy.http.connection import (
    NO_OPTIONS,
    keeps_alive,
    read_options,
    upgrade_offer,
)
from l7proxy.http.framing import (
    UNTIL_CLOSE,
    ResponseFraming,
    read_framing,
)
from l7proxy.http.grammar import RESPONSE_HEAD, Fields, fields_of, index_of
from l7proxy.http.head import scan_fields
from l7proxy.http.refused import Refused
from l7proxy.limits import Limits
from l7proxy.reasons import Reason

__all__ = ["Response", "parse_response"]


@dataclass(slots=True)
class Response:
    """A response that has exactly one reading. Not changed once it is parsed.

    framing: of the content that follows: None without content, its length, CHUNKED, UNTIL_CLOSE.
    declared_length: the Content-Length of a response that has no content because of HEAD or 304.
    keep_alive: the server will take another request on the connection. upgrade: the protocol
    that a 101 switches to. dropped: lower-case names of fields that end at this hop.
    """

    status: int
    phrase: bytes
    minor_version: int
    headers: Fields
    framing: ResponseFraming
    declared_length: int | None
    keep_alive: bool
    upgrade: bytes | None
    dropped: frozenset[bytes]

    @property
    def informational(self) -> bool:
        """Whether a further response to the same request follows: 1xx, but not 101."""
        return self.status < 200 and self.status != 101


def parse_response(
    head: bytes, request_method: bytes, limits: Limits, *, upgrade: bytes | None = None
) -> Response:
    """Parse a whole response head, up to and including its empty line.

    ``upgrade`` is the protocol that the request offered. Raises Refused(UPSTREAM_NOT_HTTP) for a
    malformed head, one beyond the limits, ambiguous framing, and a 101 that was not asked for.
    """
    match = RESPONSE_HEAD.match(head)
    if match is None or len(head) > limits.head_bytes:
        raise _refused(_explain(head, limits))
    minor, code, phrase, _ = match.groups()
    status = int(code)
    minor_version = 1 if minor == b"1" else 0
    headers = fields_of(head, match.end(4))
    if len(headers) > limits.head_fields:
        raise _refused(f"{len(headers)} fields, the limit is {limits.head_fields}")
    index = index_of(headers)
    try:
        framing: ResponseFraming = read_framing(
            index.get(b"content-length"), index.get(b"transfer-encoding"), minor_version
        )
    except Refused as refused:
        raise _refused(refused.detail) from None
    connection = index.get(b"connection")
    options = NO_OPTIONS if connection is None else read_options(connection)
    keep_alive = keeps_alive(options, minor_version)
    declared_length: int | None = None
    switched: bytes | None = None
    if request_method == b"HEAD" or status < 200 or status in (204, 304):
        # RFC 9112 6.3, rule 1: these are "always terminated by the first empty line after the
        # header fields, regardless of the header fields present in the message".
        if status >= 200 and status != 204 and isinstance(framing, int):
            declared_length = framing
        framing = None
        if status == 101:
            switched = _switched(index.get(b"upgrade"), upgrade)
            keep_alive = False
    elif framing is None:
        # RFC 9112 6.3, rule 8: "this is a response message without a declared message body
        # length, so the message body length is determined by the number of octets received
        # prior to the server closing the connection."
        framing = UNTIL_CLOSE
        keep_alive = False
    return Response(
        status,
        phrase or b"",
        minor_version,
        headers,
        framing,
        declared_length,
        keep_alive,
        switched,
        options.dropped,
    )


def _switched(accepted: bytes | None, offered: bytes | None) -> bytes:
    """RFC 9110 7.8: "A server MUST NOT switch to a protocol that was not indicated by the client
    in the corresponding request's Upgrade header field."
    """
    protocol = upgrade_offer(accepted)
    if protocol is None or protocol != offered:
        raise _refused("a 101 to a protocol that was not offered")
    return protocol


def _refused(detail: str) -> Refused:
    return Refused(Reason.UPSTREAM_NOT_HTTP, detail)


def _explain(head: bytes, limits: Limits) -> str:
    if len(head) > limits.head_bytes:
        return f"the response head is over {limits.head_bytes} bytes"
    line, end, _ = head.partition(b"\r\n")
    if not RESPONSE_HEAD.match(line + b"\r\n\r\n"):
        return f"the status line is {line[:40]!r}"
    try:
        scan_fields(head, len(line) + len(end))
    except Refused as refused:
        return refused.detail
    return "the response head does not end where it was said to end"
