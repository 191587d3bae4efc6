"""Our own responses: the bytes of a refusal, built from its reason.

The bytes depend on the arguments alone: no date, no server name, nothing of the request but the
location of a redirect. So another executor (the kernel) can hold them as constants.
"""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus

from l7proxy.reasons import Reason

__all__ = ["ALLOWED_METHODS", "CONTINUE", "answer", "may_keep_alive"]

# RFC 9110 15.2.1: "The 100 (Continue) status code indicates that the initial part of a request has
# been received and has not yet been rejected by the server."
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# RFC 9110 15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
ALLOWED_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

# RFC 9110 10.2.3: seconds after which a client may well try again.
_RETRY_AFTER = {Reason.NOT_READY: b"1", Reason.OVERLOADED: b"1"}

_PHRASES = {431: "Request Header Fields Too Large", 414: "URI Too Long"}


def may_keep_alive(reason: Reason) -> bool:
    """Whether the connection can go on after a refusal for ``reason``: the request was whole and
    understood, and only its wish was refused.
    """
    return reason.status == 403


def answer(
    reason: Reason,
    *,
    keep_alive: bool = False,
    client_minor: int = 1,
    head: bool = False,
    location: bytes | None = None,
) -> bytes:
    """The whole response to a request that was refused for ``reason``.

    ``keep_alive``: the client may send another request (honoured where ``may_keep_alive``).
    ``client_minor``: 0 for an HTTP/1.0 client, which must be told of it. ``head``: the request
    was HEAD. ``location``: required by the redirect of ESCAPED_SLASH, and only there.

    Raises ValueError for a reason that has no HTTP answer.
    """
    if location is None:
        return _constant(reason, keep_alive, client_minor, head)
    return _build(reason, keep_alive, client_minor, head, location)


@lru_cache(maxsize=256)
def _constant(reason: Reason, keep_alive: bool, client_minor: int, head: bool) -> bytes:
    return _build(reason, keep_alive, client_minor, head, None)


def _build(
    reason: Reason, keep_alive: bool, client_minor: int, head: bool, location: bytes | None
) -> bytes:
    status = reason.status
    if status is None:
        raise ValueError(f"{reason} has no HTTP answer")
    body = _body(reason, status)
    lines = [
        f"HTTP/1.1 {status} {_PHRASES.get(status) or HTTPStatus(status).phrase}".encode(),
        b"Content-Type: text/plain",
        b"Content-Length: %d" % len(body),
    ]
    if status == 307:
        if location is None:
            raise ValueError(f"{reason} needs a location")
        lines.append(b"Location: " + location)
    if status == 405:
        lines.append(b"Allow: " + ALLOWED_METHODS)
    if reason in _RETRY_AFTER:
        lines.append(b"Retry-After: " + _RETRY_AFTER[reason])
    if not (keep_alive and may_keep_alive(reason)):
        lines.append(b"Connection: close")
    elif client_minor == 0:
        lines.append(b"Connection: keep-alive")
    # RFC 9110 9.3.2: "The HEAD method is identical to GET except that the server MUST NOT send
    # content in the response"; the length is the one that GET would have.
    return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if head else body)


def _body(reason: Reason, status: int) -> bytes:
    """403 says no more than Cilium's does; the others name the reason, to whoever debugs them."""
    if status == 403:
        return b"Access denied\r\n"
    return f"{reason}: {reason.meaning}\r\n".encode()
