"""The heads that are sent on: to the server, and back to the client.

A head is written anew from what was understood. Fields that end at this hop are left out, framing
is written from the parsed framing, and the path is the normalised one: the next reader cannot
find another meaning in it. Left out on purpose: Via (it names hosts and tells clients of a node
proxy they need not see; nginx and Envoy leave it out too) and the Max-Forwards of RFC 9110 7.6.2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

from l7proxy.http.connection import HOP_BY_HOP
from l7proxy.http.framing import CHUNKED, UNTIL_CLOSE, ResponseFraming
from l7proxy.http.grammar import TOKEN, VALUE
from l7proxy.http.request import Request
from l7proxy.http.response import Response

__all__ = [
    "editable",
    "kept_request_id",
    "new_request_id",
    "request_head",
    "response_framing",
    "response_head",
]

_REQUEST_ID = re.compile(rb"[\x21-\x2b\x2d-\x7e]{1,128}")

# Fields that the proxy writes itself, so that no copy of the sender's remains.
_OURS_IN_REQUESTS = frozenset((b"content-length", b"x-forwarded-for", b"x-request-id"))
_OURS_IN_RESPONSES = frozenset((b"content-length",))
_UNEDITABLE = HOP_BY_HOP | {b"content-length"}


class Edit(Protocol):
    """A change to the forwarded fields: remove (``value`` None), set, or add to what is there."""

    @property
    def name(self) -> bytes: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def append(self) -> bool: ...


def kept_request_id(request: Request) -> bytes | None:
    """The client's X-Request-Id if it is one visible ASCII word of at most 128 bytes, else None."""
    value = request.index.get(b"x-request-id")
    return value if value is not None and _REQUEST_ID.fullmatch(value) else None


def new_request_id() -> bytes:
    """A fresh X-Request-Id: 128 random bits, written as a version 4 UUID (RFC 9562 5.4)."""
    bits = bytearray(os.urandom(16))
    bits[6] = bits[6] & 0x0F | 0x40
    bits[8] = bits[8] & 0x3F | 0x80
    digits = bits.hex()
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(parts).encode()


def request_head(
    request: Request,
    *,
    client_address: bytes,
    request_id: bytes,
    edits: Sequence[Edit] = (),
    default_host: bytes = b"",
    scheme: bytes = b"http",
) -> bytes:
    """The head that the server receives, always HTTP/1.1 and in origin form.

    ``client_address``: the client's IP address without port, appended to X-Forwarded-For.
    ``request_id``: written as X-Request-Id. ``edits``: applied last, in order; ValueError if one
    is not ``editable`` or no field. ``default_host``: Host for an HTTP/1.0 request that names
    none. ``scheme``: written as X-Forwarded-Proto when the client sent none.
    """
    index = request.index
    skipped = _skipped_in_requests(request.dropped)
    fields = [field for field in request.headers if field[0].lower() not in skipped]
    if b"host" not in index:
        # RFC 9112 3.2: "A client MUST send a Host header field in all HTTP/1.1 request messages."
        fields.insert(0, (b"Host", request.host or default_host))
    chain = index.get(b"x-forwarded-for")
    fields.append(
        (b"X-Forwarded-For", b"%b, %b" % (chain, client_address) if chain else client_address)
    )
    if b"x-forwarded-proto" not in index:
        fields.append((b"X-Forwarded-Proto", scheme))
    fields.append((b"X-Request-Id", request_id))
    if edits:
        fields = _edited(fields, edits)
    framing = request.framing
    if framing is not None:
        fields.append(_framing_field(framing))
    if request.upgrade is not None:
        # RFC 9110 7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option".
        fields.append((b"Connection", b"Upgrade"))
        fields.append((b"Upgrade", request.upgrade))
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method, request.path, _lines(fields))


def response_framing(response: Response, client_minor: int) -> ResponseFraming:
    """How the content of ``response`` is framed for a client of HTTP/1.``client_minor``.

    Content that ends with the server's connection is chunked for a 1.1 client, so that the end is
    seen as one; chunks are undone for a 1.0 client, which does not know them (RFC 9112 6.1: "A
    server MUST NOT send a response containing Transfer-Encoding unless the corresponding request
    indicates HTTP/1.1 (or later minor revisions)").
    """
    if response.framing is CHUNKED or response.framing is UNTIL_CLOSE:
        return CHUNKED if client_minor == 1 else UNTIL_CLOSE
    return response.framing


def response_head(response: Response, *, client_minor: int, keep_alive: bool) -> bytes:
    """The head that the client receives, for content framed as ``response_framing`` says.

    ``keep_alive``: the proxy will read another request from this client. It says close anyway
    where the framing is UNTIL_CLOSE. A 101 carries the upgrade; other 1xx carry no connection
    option, and none of them may go to a 1.0 client (RFC 9110 15.2).
    """
    skipped = _skipped_in_responses(response.dropped)
    fields = [field for field in response.headers if field[0].lower() not in skipped]
    framing = response_framing(response, client_minor)
    if framing is UNTIL_CLOSE:
        keep_alive = False
    elif framing is not None:
        fields.append(_framing_field(framing))
    elif response.declared_length is not None:
        fields.append(_framing_field(response.declared_length))
    if response.upgrade is not None:
        fields.append((b"Connection", b"Upgrade"))
        fields.append((b"Upgrade", response.upgrade))
    elif response.status >= 200:
        if not keep_alive:
            fields.append((b"Connection", b"close"))
        elif client_minor == 0:
            fields.append((b"Connection", b"keep-alive"))
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (response.status, response.phrase, _lines(fields))


def editable(name: bytes) -> bool:
    """Whether an edit may change the field ``name``: a token that is not framing or this hop's."""
    return TOKEN.fullmatch(name) is not None and name.lower() not in _UNEDITABLE


def _edited(
    fields: Iterable[tuple[bytes, bytes]], edits: Sequence[Edit]
) -> list[tuple[bytes, bytes]]:
    result = list(fields)
    for edit in edits:
        name, value = edit.name, edit.value
        if not editable(name):
            raise ValueError(f"{name!r} is not a field that may be changed")
        if value is not None and not VALUE.fullmatch(value):
            raise ValueError(f"the new value of {name!r} holds a byte that no field value may")
        if not edit.append:
            lower = name.lower()
            result = [field for field in result if field[0].lower() != lower]
        if value is not None:
            result.append((name, value))
    return result


def _lines(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def _framing_field(framing: ResponseFraming) -> tuple[bytes, bytes]:
    if isinstance(framing, int):
        return (b"Content-Length", b"%d" % framing)
    return (b"Transfer-Encoding", b"chunked")


@lru_cache(maxsize=256)
def _skipped_in_requests(dropped: frozenset[bytes]) -> frozenset[bytes]:
    return dropped | _OURS_IN_REQUESTS


@lru_cache(maxsize=256)
def _skipped_in_responses(dropped: frozenset[bytes]) -> frozenset[bytes]:
    return dropped | _OURS_IN_RESPONSES
