"""Two other readers of HTTP/1.1, h11 and llhttp (through httptools), with one face."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import h11
import httptools

Pairs = tuple[tuple[bytes, bytes], ...]


@dataclass
class Message:
    """What another reader found: ``start`` is (method, target) or (status,)."""

    start: tuple[bytes | int, ...]
    headers: Pairs
    body: bytes
    trailers: Pairs
    keep_alive: bool | None = None


def lowered(pairs: Iterable[tuple[bytes, bytes]]) -> Pairs:
    """Names in lower case, and what a reader is free to change in a value undone: h11 gives the
    coding in lower case, llhttp leaves whitespace at the end."""
    plain = ((bytes(name).lower(), bytes(value).rstrip(b" \t")) for name, value in pairs)
    return tuple(
        (name, value.lower() if name == b"transfer-encoding" else value) for name, value in plain
    )


def request_by_h11(wire: bytes) -> Message | None:
    """The request in ``wire``; None if h11 refuses it or misses a part of it."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    return _by_h11(connection, wire, eof=False)


def response_by_h11(wire: bytes, method: bytes) -> Message | None:
    """The final response in ``wire``, with the connection closed after it, likewise."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    return _by_h11(connection, wire, eof=True)


def _by_h11(connection: h11.Connection, wire: bytes, *, eof: bool) -> Message | None:
    message: Message | None = None
    try:
        connection.receive_data(wire)
        if eof:
            connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                start: tuple[bytes | int, ...] = (event.method, event.target)
                message = Message(start, lowered(event.headers), b"", ())
            elif isinstance(event, h11.Response):
                message = Message((event.status_code,), lowered(event.headers), b"", ())
            elif isinstance(event, h11.Data) and message is not None:
                message.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and message is not None:
                message.trailers = lowered(event.headers)
                return message
            elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return None
    except h11.RemoteProtocolError:
        return None


@dataclass
class _Listener:
    target: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    head_fields: int = 0
    body: bytes = b""
    complete: bool = False
    keep_alive: bool = False
    parser: httptools.HttpParser | None = None

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.head_fields = len(self.fields)
        assert self.parser is not None
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.complete = True

    def message(self, start: tuple[bytes | int, ...]) -> Message | None:
        if not self.complete:
            return None
        pairs = lowered(self.fields)
        head, trailers = pairs[: self.head_fields], pairs[self.head_fields :]
        return Message(start, head, self.body, trailers, self.keep_alive)


def request_by_llhttp(wire: bytes) -> Message | None:
    """The request in ``wire``; None if llhttp refuses it or misses a part of it."""
    listener = _Listener()
    listener.parser = parser = httptools.HttpRequestParser(listener)
    try:
        parser.feed_data(wire)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    return listener.message((parser.get_method(), listener.target))


def response_by_llhttp(wire: bytes) -> Message | None:
    """The response to a GET in ``wire``, likewise."""
    listener = _Listener()
    listener.parser = parser = httptools.HttpResponseParser(listener)
    try:
        parser.feed_data(wire)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    return listener.message((parser.get_status_code(),))
