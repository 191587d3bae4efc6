"""The meaning of a request head, or the reason why it has none."""

from __future__ import annotations

from dataclasses import dataclass, field

from l7proxy.http.authority import is_authority
from l7proxy.http.connection import (
    HOP_BY_HOP,
    NO_OPTIONS,
    Options,
    keeps_alive,
    read_options,
    upgrade_offer,
)
from l7proxy.http.framing import CHUNKED, Framing, RequestFraming, read_framing
from l7proxy.http.grammar import REQUEST_HEAD, Fields, fields_of, index_of
from l7proxy.http.head import explain_request
from l7proxy.http.refused import Refused
from l7proxy.http.target import Target, read_target
from l7proxy.limits import Limits
from l7proxy.reasons import Reason

__all__ = ["CHUNKED", "Framing", "Refused", "Request", "parse_request", "refuse_early_bytes"]


@dataclass(slots=True)
class Request:
    """A request that has exactly one reading. Not changed once it is parsed.

    method: as sent. target: as sent. path: normalised, with the query as sent; ``*`` for OPTIONS
    of the server. host: lower-cased authority with its port as sent, empty when an HTTP/1.0
    request names none. minor_version: 0 or 1. headers: (name, value) as sent, in order.
    framing: None without content, its length, or CHUNKED. keep_alive: the client can send
    another request. expects_continue: it waits for a 100 before the content. upgrade: the
    protocol that is offered to the server. dropped: lower-case names that end at this hop.
    """

    method: bytes
    target: bytes
    path: bytes
    host: bytes
    minor_version: int
    headers: Fields
    framing: RequestFraming
    keep_alive: bool
    expects_continue: bool
    upgrade: bytes | None
    dropped: frozenset[bytes]
    index: dict[bytes, bytes] = field(repr=False, compare=False)

    def header(self, name: bytes) -> bytes | None:
        """The value of the lower-case ``name``, repeats joined with ``,``; None if absent.

        A field that Connection names, or an Upgrade that is not offered to the server, is absent:
        the server will not see it, so no rule may rest on it.
        """
        return self.index.get(name)

    @property
    def has_content(self) -> bool:
        """Whether at least one byte of framing follows the head."""
        return self.framing is not None and self.framing != 0


def parse_request(head: bytes, limits: Limits) -> Request:
    """Parse a whole request head, from its first byte to the empty line that ends it.

    Raises Refused with the reason of the first malformed byte; else of the first of these that
    fails: number of fields, method, target, Host, framing, Connection, escaped slash.
    """
    match = REQUEST_HEAD.match(head)
    if match is None or len(head) > limits.head_bytes:
        explain_request(head, limits)
    method, sent_target, minor = match.groups()
    if len(sent_target) > limits.target_bytes:
        explain_request(head, limits)
    minor_version = 1 if minor == b"1" else 0
    headers = fields_of(head, match.end(3) + 2)
    if len(headers) > limits.head_fields:
        raise Refused(
            Reason.HEAD_TOO_LARGE, f"{len(headers)} fields, the limit is {limits.head_fields}"
        )
    index = index_of(headers)
    target = read_target(method, sent_target)
    host = _read_host(index.get(b"host"), target, minor_version)
    framing = read_framing(
        index.get(b"content-length"), index.get(b"transfer-encoding"), minor_version
    )
    options, upgrade = NO_OPTIONS, None
    if b"connection" in index:
        options = _read_connection(index)
        if options.upgrade and minor_version == 1 and not framing:
            # RFC 9110 7.8: "A server MUST ignore an Upgrade header field that is received in an
            # HTTP/1.0 request." One with content is served without the upgrade.
            upgrade = upgrade_offer(index.get(b"upgrade"))
    if options.dropped is not HOP_BY_HOP:
        for name in options.dropped - HOP_BY_HOP:
            index.pop(name, None)
    if upgrade is None and b"upgrade" in index:
        del index[b"upgrade"]
    if target.escaped_slash:
        raise Refused(Reason.ESCAPED_SLASH, "%2F or %5C in the path", location=target.path)
    # RFC 9110 10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request
    # MUST ignore that expectation."
    expects_continue = (
        b"expect" in index
        and minor_version == 1
        and framing is not None
        and framing != 0
        and index[b"expect"].lower() == b"100-continue"
    )
    return Request(
        method,
        sent_target,
        target.path,
        host,
        minor_version,
        headers,
        framing,
        keeps_alive(options, minor_version),
        expects_continue,
        upgrade,
        options.dropped,
        index,
    )


def refuse_early_bytes(request: Request, buffered: int) -> None:
    """Refuse ``buffered`` bytes that came after an upgrade request and before its answer.

    Nobody can tell whether they are the next request or the new protocol's. RFC 6455 4.1 has the
    client wait: "Once the client's opening handshake has been sent, the client MUST wait for a
    response from the server before sending any further data." Raises
    Refused(BYTES_BEFORE_UPGRADE).
    """
    if request.upgrade is not None and buffered > 0:
        raise Refused(Reason.BYTES_BEFORE_UPGRADE, f"{buffered} bytes before the upgrade's answer")


def _read_host(value: bytes | None, target: Target, minor_version: int) -> bytes:
    """RFC 9112 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1
    request message that lacks a Host header field and to any request message that contains more
    than one Host header field line or a Host header field with an invalid field value."
    """
    if value is None:
        if minor_version == 1:
            raise Refused(Reason.BAD_HOST, "no Host")
        return (target.authority or b"").lower()
    if not is_authority(value):
        raise Refused(Reason.BAD_HOST, f"Host is {value[:60]!r}")
    host = value.lower()
    if target.authority is not None and target.authority.lower() != host:
        # RFC 9112 3.2: the client "MUST send a field value for Host that is identical to that
        # authority component".
        raise Refused(Reason.BAD_HOST, "Host differs from the authority of the target")
    return host


def _read_connection(index: dict[bytes, bytes]) -> Options:
    options = read_options(index[b"connection"])
    if options.faulty is not None:
        raise Refused(Reason.BAD_HEADER_VALUE, f"Connection names {options.faulty[:40]!r}")
    return options
