"""What the beginning of a request's head shows: for records of requests that the kernel decided.

The head may be cut anywhere, and may be no HTTP at all. Nothing is decided by what is found here.
"""

from __future__ import annotations

from dataclasses import dataclass

_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True)
class Glimpse:
    """As received, empty where it is not there or was cut off: any bytes.

    ``length`` is what Content-Length says, 0 without one. ``cut``: the head ends inside the target.
    """

    method: bytes = b""
    target: bytes = b""
    host: bytes = b""
    request_id: bytes = b""
    length: int = 0
    cut: bool = False


def glimpse(head: bytes) -> Glimpse:
    """Looks at the beginning of a head."""
    lines = head.lstrip(b"\r\n").split(b"\n")
    method, _, rest = lines[0].rstrip(b"\r").partition(b" ")
    target, space, _ = rest.partition(b" ")
    found = {b"host": b"", b"x-request-id": b"", b"content-length": b""}
    for line in lines[1:]:
        text = line.rstrip(b"\r")
        if not text:
            break
        name, colon, value = text.partition(b":")
        key = name.lower()
        if colon and key in found and not found[key]:
            found[key] = value.strip(b" \t")
    digits = found[b"content-length"]
    length = int(digits) if digits.isdigit() and len(digits) <= _DIGITS_MAX else 0
    cut = len(lines) == 1 and not space
    return Glimpse(method, target, found[b"host"], found[b"x-request-id"], length, cut)
