"""What every application answers, without a word of how a server is told it."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

# Not repeated by /echo: what ends at one hop, and what the proxy says of the client. The rest of a
# request must reach the server as it was sent.
UNTOLD = {
    "connection", "keep-alive", "te", "transfer-encoding", "upgrade", "expect", "content-length",
    "proxy-connection", "x-forwarded-for", "x-forwarded-proto", "x-request-id",
}  # fmt: skip
PAUSE = 0.05
"""Seconds between the parts of a slow answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``parts`` are sent one by one; with ``sized`` as a Content-Length, else without one."""

    status: int
    headers: list[tuple[str, str]]
    parts: list[bytes]
    sized: bool = True
    pause: float = 0.0

    def fields(self) -> list[tuple[str, str]]:
        """The headers with the length where it is told."""
        if not self.sized or self.status in (204, 304):
            return self.headers
        return [*self.headers, ("Content-Length", str(sum(map(len, self.parts))))]


def content(size: int) -> bytes:
    """Numbered lines, as tests.compat.exchanges has them."""
    return b"".join(b"%08d\n" % number for number in range(size // 9 + 1))[:size]


LARGE = content(1_000_000)


def answer(method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> Answer:
    """The answer to a request whose body has been read. HEAD gets what GET gets."""
    fields = [(name.lower(), value) for name, value in headers]
    known = dict(fields)
    path = target.split("?")[0]
    if path.startswith("/echo"):
        return _echo(method, target, fields, body)
    if path == "/large":
        return _large(known.get("range"))
    if path == "/cached":
        tag = [("ETag", '"fixed"')]
        same = known.get("if-none-match") == '"fixed"'
        return Answer(304, tag, []) if same else Answer(200, [*tag, *_TEXT], [b"cached\n"])
    return _FIXED.get(path, _MISSING)


_TEXT = [("Content-Type", "text/plain")]
_MISSING = Answer(404, _TEXT, [b"nothing here\n"])
_FIXED = {
    "/small": Answer(200, _TEXT, [b"small\n"]),
    "/chunked": Answer(200, _TEXT, [LARGE[at : at + 999] for at in range(0, 9990, 999)], False),
    "/slow": Answer(200, _TEXT, [b"one\n", b"two\n", b"three\n"], True, PAUSE),
    "/events": Answer(
        200,
        [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")],
        [b"id: %d\ndata: event %d\n\n" % (number, number) for number in range(3)],
        False,
        PAUSE,
    ),
    "/moved": Answer(302, [("Location", "/small"), *_TEXT], [b"moved\n"]),
    "/empty": Answer(204, [("X-Reason", "nothing to say")], []),
    "/gzip": Answer(
        200,
        [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"), *_TEXT],
        [gzip.compress(LARGE[:5000], mtime=0)],
    ),
    "/headers": Answer(
        200,
        [
            ("Set-Cookie", "a=1; Path=/"),
            ("Set-Cookie", "b=2; Path=/"),
            ("X-Long", "l" * 3000),
            *((f"X-Many-{number}", f"value {number}") for number in range(30)),
            *_TEXT,
        ],
        [b"many headers\n"],
    ),
}


def _large(asked: str | None) -> Answer:
    if asked is None:
        return Answer(200, [("Accept-Ranges", "bytes"), *_TEXT], [LARGE])
    first, _, last = asked.removeprefix("bytes=").partition("-")
    begin, end = int(first), min(int(last or len(LARGE)), len(LARGE) - 1)
    if begin >= len(LARGE):
        return Answer(416, [("Content-Range", f"bytes */{len(LARGE)}")], [])
    place = f"bytes {begin}-{end}/{len(LARGE)}"
    return Answer(206, [("Content-Range", place), *_TEXT], [LARGE[begin : end + 1]])


def _echo(method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> Answer:
    told = {
        "method": method,
        "target": target,
        "headers": sorted(field for field in fields if field[0] not in UNTOLD),
        "length": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    text = json.dumps(told, sort_keys=True, indent=0).encode()
    return Answer(200, [("Content-Type", "application/json")], [text])
