"""The fixed set of exchanges: what each client asks each server, on each way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Exchange:
    """One thing that a client does, possibly ``times`` times on one connection.

    ``body``     bytes to send, made by every client in the same way: numbered lines
    ``chunked``  the body is sent without a length
    ``slow``     the body is sent in three parts with pauses
    ``expect``   Expect: 100-continue
    ``early``    the client reads a little of the answer, and closes
    """

    name: str
    target: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: int = 0
    chunked: bool = False
    slow: bool = False
    expect: bool = False
    early: bool = False
    times: int = 1
    websocket: bool = False


MANY = {f"X-Many-{number}": f"value {number}" for number in range(50)}
EXCHANGES = (
    Exchange("get", "/small"),
    Exchange("head", "/small", "HEAD"),
    Exchange("head-large", "/large", "HEAD"),
    Exchange("not-found", "/missing"),
    Exchange("large", "/large"),
    Exchange("chunked", "/chunked"),
    Exchange("keep-alive", "/small", times=5),
    Exchange("keep-alive-large", "/large", times=3),
    Exchange("post", "/echo", "POST", body=900),
    Exchange("post-empty", "/echo", "POST"),
    Exchange("post-large", "/echo", "POST", body=1_000_000),
    Exchange("post-chunked", "/echo", "POST", body=90_000, chunked=True),
    Exchange("post-slow", "/echo", "POST", body=900, chunked=True, slow=True),
    Exchange("post-expect", "/echo", "POST", body=9000, expect=True),
    Exchange("post-keep-alive", "/echo", "POST", body=900, times=3),
    Exchange("put", "/echo", "PUT", body=900),
    Exchange("patch", "/echo", "PATCH", body=90),
    Exchange("delete", "/echo", "DELETE"),
    Exchange("options", "/echo", "OPTIONS"),
    Exchange("range", "/large", headers={"Range": "bytes=100-299"}),
    Exchange("range-beyond", "/large", headers={"Range": "bytes=9000000-"}),
    Exchange("conditional", "/cached", headers={"If-None-Match": '"fixed"'}),
    Exchange("redirect", "/moved"),
    Exchange("gzip", "/gzip", headers={"Accept-Encoding": "gzip"}),
    Exchange("no-content", "/empty"),
    Exchange("long-header", "/echo", headers={"X-Long": "l" * 4000}),
    Exchange("many-headers", "/echo", headers=MANY),
    Exchange("many-answered", "/headers"),
    Exchange("query", "/echo?a=1&b=&c=%20%26&d=x+y&e=%C3%A9"),
    Exchange("percent", "/echo/a%20b/%C3%A9?%25"),
    Exchange("dot-segments", "/echo/./a//b/%7Ec"),
    Exchange("trailers", "/trailers"),
    Exchange("slow", "/slow"),
    Exchange("events", "/events", headers={"Accept": "text/event-stream"}),
    Exchange("early-close", "/large", early=True),
    Exchange("after-early-close", "/small"),
    Exchange("websocket", "/ws", websocket=True),
)


def content(size: int) -> bytes:
    """The bytes of every body of this size: numbered lines, so that no two places are equal."""
    return b"".join(b"%08d\n" % number for number in range(size // 9 + 1))[:size]
