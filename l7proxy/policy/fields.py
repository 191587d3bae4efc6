"""The scalar values of a policy document: ports, address blocks, patterns, headers, backends.

Each reader takes what the document holds and returns the value of the model, or raises
ValueError with a sentence that says what to write instead.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

from l7proxy.policy import patterns
from l7proxy.policy.model import Backend, Network, Protocol

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DIGITS = re.compile(r"0|[1-9][0-9]{0,4}")
_PORT_NAME = re.compile(r"[A-Za-z0-9-]*[A-Za-z][A-Za-z0-9-]*")
_LAST_PORT = 65535

# Changing these would change the framing or the routing that the request was checked with.
_NOT_EDITABLE = frozenset(
    b"connection content-length expect host keep-alive proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)


def quoted(value: Any) -> str:
    """A string as the document holds it, never a number or a boolean that merely looks like it."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) or value is None:
        raise ValueError(f"must be a string, not {json.dumps(value)}: quote it")
    raise ValueError("must be a string")


def port(value: Any) -> int:
    """A port number, 0 (every port) to 65535, written as a number or as a string of digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = quoted(value)
    if not _DIGITS.fullmatch(text):
        if _PORT_NAME.fullmatch(text):
            raise ValueError(f"named port {text!r}: named ports are not supported")
        raise ValueError(f"{text!r} is not a port number from 0 to {_LAST_PORT}")
    number = int(text)
    if number > _LAST_PORT:
        raise ValueError(f"{text} is not a port number from 0 to {_LAST_PORT}")
    return number


def protocol(value: Any) -> Protocol:
    """TCP, UDP, SCTP or ANY in any case; the empty string is ANY."""
    text = quoted(value).upper()
    try:
        return Protocol(text or "ANY")
    except ValueError:
        raise ValueError(f"{value!r} is not one of TCP, UDP, SCTP, ANY") from None


def block_or_address(value: Any) -> Network:
    """``10.0.0.0/8``, or one address without a length."""
    text = quoted(value)
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not an address or an address block") from None


def block(value: Any) -> Network:
    """``10.0.0.0/8``: an address block with its length."""
    network = block_or_address(value)
    if "/" not in value:
        raise ValueError(f"{value!r} has no length: write {network}")
    return network


def pattern(value: Any) -> str:
    """A regular expression that RE2 accepts."""
    text = quoted(value)
    if not text:
        raise ValueError("is empty: leave the field out to match every value")
    patterns.check(text)
    return text


def header_name(value: Any) -> bytes:
    """A field name (RFC 9110 section 5.1), lower-cased."""
    text = quoted(value)
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{text!r} is not a header name")
    return text.lower().encode()


def header_value(value: Any) -> bytes:
    """A field value (RFC 9110 section 5.5): no control bytes, no space around it."""
    text = quoted(value)
    if any(ord(character) < 0x20 and character != "\t" for character in text) or "\x7f" in text:
        raise ValueError("a header value cannot hold control characters")
    if text != text.strip(" \t"):
        raise ValueError("a header value has no space before or after it, so this never matches")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError("the header value is not valid Unicode") from None


def header_line(value: Any) -> tuple[bytes, bytes | None]:
    """``Name: value`` for an exact value, ``Name`` for presence."""
    text = quoted(value)
    name, colon, rest = text.partition(":")
    if not colon:
        return header_name(name), None
    wanted = header_value(rest.strip(" \t"))
    if not wanted:
        raise ValueError(f"{text!r} has no value: write {name!r} to ask for presence")
    return header_name(name), wanted


def check_editable(name: bytes) -> None:
    """Raises ValueError for a header that no rule may change."""
    if name in _NOT_EDITABLE:
        raise ValueError(f"a rule cannot change the header {name.decode()!r}")


def backend_address(value: Any) -> Backend:
    """``10.0.0.4:8080`` or ``[fd00::4]:8080``: a numeric address with a port."""
    text = quoted(value)
    host, colon, digits = text.rpartition(":")
    problem = f"{text!r} is not ADDRESS:PORT, as in 10.0.0.4:8080 or [fd00::4]:8080"
    if not colon or not _DIGITS.fullmatch(digits) or not 0 < int(digits) <= _LAST_PORT:
        raise ValueError(problem)
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise ValueError(problem) from None
    if bracketed != (address.version == 6) or getattr(address, "scope_id", None):
        raise ValueError(problem)
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"{text!r} is not the address of one backend")
    return Backend(int(digits), address)
