"""Reads one request from pieces of bytes, the way a server does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from l7proxy.http.body import reader
from l7proxy.http.grammar import Fields
from l7proxy.http.head import check_partial, find_end
from l7proxy.http.request import Request, parse_request, refuse_early_bytes
from l7proxy.limits import Limits

LIMITS = Limits()


@dataclass(frozen=True)
class Reading:
    """A request that was read whole, its content and trailers, and the bytes that were left."""

    request: Request
    body: bytes
    trailers: Fields
    rest: bytes


class Incomplete(Exception):
    """The pieces ended before the request did."""


def read_request(pieces: Iterable[bytes], limits: Limits = LIMITS) -> Reading:
    """Read one request. Raises Refused, or Incomplete when ``pieces`` do not hold a whole one."""
    incoming = iter(pieces)
    buffer = bytearray()
    searched = checked = 0
    for piece in incoming:
        buffer += piece
        end = find_end(buffer, max(searched - 3, 0))
        if end >= 0:
            break
        checked = check_partial(buffer, limits, checked)
        searched = len(buffer)
    else:
        raise Incomplete
    request = parse_request(bytes(buffer[:end]), limits)
    rest = bytes(buffer[end:])
    body = reader(request.framing, limits)
    content: list[bytes] = []
    while True:
        got, used = body.feed(rest)
        content += got
        rest = rest[used:]
        if body.done:
            break
        following = next(incoming, None)
        if following is None:
            raise Incomplete
        rest += following
    rest += b"".join(incoming)
    refuse_early_bytes(request, len(rest))
    return Reading(request, b"".join(content), body.trailers, rest)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """``data`` cut at ``places``."""
    ends = [*sorted(places), len(data)]
    starts = [0, *ends[:-1]]
    return [data[start:end] for start, end in zip(starts, ends, strict=True)]
