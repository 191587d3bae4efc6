"""Requests that carry a number, and what has to come back for each."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

from l7proxy.http.answers import answer
from l7proxy.http.in_place import forms_of
from l7proxy.reasons import Reason

_SHOWN = 100


def content(target: str, size: int, body: bytes) -> bytes:
    """What the server says: the request and its own content's checksum, over and over again.

    One line if ``size`` is 0.
    """
    line = f"{target} {len(body)} {zlib.crc32(body):08x}\n".encode()
    return (line * (size // len(line) + 1))[: size or len(line)]


@dataclass(frozen=True)
class Request:
    """``data``: as sent. ``end``: where its head ends."""

    method: str
    family: str
    number: str
    target: str
    data: bytes
    end: int
    body: bytes
    is_last: bool

    def __str__(self) -> str:
        return f"{self.data[: self.end]!r} + {len(self.data) - self.end} bytes"


def request(
    number: str,
    family: str,
    method: str = "GET",
    *,
    how: str = "length",
    size: int = 0,
    body: bytes = b"",
    chunked: bool = False,
    is_last: bool = False,
) -> Request:
    """``how`` and ``size`` of the answer; ``body`` and ``chunked`` of the request."""
    target = f"/{family}/{how}/{size}/{number}"
    lines = [f"{method} {target} HTTP/1.1", "Host: soak", f"Number: {number}"]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    elif body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    if is_last:
        lines.append("Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode()
    framed = _chunked(body) if chunked else body
    return Request(method, family, number, target, head + framed, len(head), body, is_last)


def _chunked(body: bytes) -> bytes:
    parts = []
    while body:
        size = random.choice((1, 100, 5000, 60_000, 300_000))
        piece, body = body[:size], body[size:]
        parts.append(b"%x\r\n%b\r\n" % (len(piece), piece))
    return b"".join([*parts, b"0\r\n\r\n"])


@dataclass(frozen=True)
class Answer:
    """``head``: up to and with the empty line."""

    status: int
    fields: dict[str, str]
    head: bytes
    body: bytes

    @property
    def closes(self) -> bool:
        return self.fields.get("connection") == "close" or not self.fields

    def __str__(self) -> str:
        return f"{self.head!r} + {self.body[:_SHOWN]!r} ({len(self.body)} bytes)"


def is_right(asked: Request, size: int, given: Answer) -> bool:
    """Whether it is the server's own answer to this request, to the last byte."""
    wanted = b"" if asked.method == "HEAD" else content(asked.target, size, asked.body)
    return (
        given.status == 200
        and given.fields.get("number") == asked.number
        and given.closes == asked.is_last
        and given.body == wanted
    )


def is_refusal(asked: Request, given: Answer) -> bool:
    """Whether it is exactly what the kernel has to say."""
    wanted = answer(
        Reason.NO_RULE_MATCHED, keep_alive=not given.closes, head=asked.method == "HEAD"
    )
    came = given.head + given.body
    by_tcp = (form.filled(len(came)) for form in forms_of(wanted) if form.least <= len(came))
    return came == wanted or came in by_tcp
