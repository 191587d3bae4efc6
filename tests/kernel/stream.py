"""The answers that a client received, told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from l7proxy.http.answers import CONTINUE
from l7proxy.http.body import reader
from l7proxy.http.framing import UNTIL_CLOSE
from l7proxy.http.head import find_end
from l7proxy.http.refused import Refused
from l7proxy.http.response import parse_response
from tests.kernel.script import LIMITS


@dataclass(frozen=True)
class Answer:
    """``raw`` is all of it, interim answers before it too. ``closes``: it is the last one."""

    raw: bytes
    status: int
    content: bytes
    closes: bool


class Garbled(Exception):
    """What was received is no answer."""


def split(
    stream: bytes, methods: Iterable[bytes], ours: Callable[[int, bytes], bytes | None]
) -> tuple[list[Answer], bytes]:
    """The whole answers in ``stream`` to requests of these methods, and what is left.

    ``ours`` tells for (number, rest of the stream) whether a refusal of ours begins there: those
    are known bytes, whatever the request's method. Raises Garbled.
    """
    found: list[Answer] = []
    rest = stream
    for number, method in enumerate(methods):
        refusal = ours(number, rest)
        answer = _refusal(refusal) if refusal else _first(rest, method)
        if answer is None:
            break
        found.append(answer)
        rest = rest[len(answer.raw) :]
    return found, rest


def _refusal(raw: bytes) -> Answer:
    head, _, content = raw.removeprefix(CONTINUE).partition(b"\r\n\r\n")
    closes = b"\r\nConnection: close" in head or b"\r\n" not in head
    return Answer(raw, int(head[9:12]), content, closes)


def _first(stream: bytes, method: bytes) -> Answer | None:
    """The first answer if it is whole."""
    at = 0
    while (end := find_end(stream, at)) >= 0:
        try:
            response = parse_response(stream[at:end], method, LIMITS)
        except Refused as refused:
            raise Garbled(f"{refused.detail}: {stream[at : at + 120]!r}") from None
        at = end
        if response.informational:
            continue
        body = reader(response.framing, LIMITS, upstream=True)
        try:
            pieces, used = body.feed(stream[at:])
        except Refused as refused:
            raise Garbled(f"{refused.detail}: {stream[at : at + 120]!r}") from None
        if not body.done and response.framing is not UNTIL_CLOSE:
            return None
        raw = stream[: at + used]
        closes = not response.keep_alive
        return Answer(raw, response.status, b"".join(pieces), closes)
    return None
