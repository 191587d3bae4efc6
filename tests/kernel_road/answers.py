"""What a client reads on one connection, answer after answer."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

STRETCHED = re.compile(r"0[0-9]{6}")


@dataclass
class Answered:
    """One final answer, and the status of each that came ahead of it."""

    status: int
    fields: dict[str, str]
    body: bytes
    ahead: tuple[int, ...] = ()
    trailers: bytes = b""

    @property
    def said(self) -> tuple[int, bytes]:
        """Status and content. A refusal in the place of many bytes has spaces at the end of its
        content, which its Content-Length of a fixed width shows."""
        body = self.body
        if self.status == 403 and STRETCHED.fullmatch(self.fields.get("content-length", "")):
            body = body.removesuffix(b"\r\n").rstrip(b" ") + b"\r\n"
        return self.status, body


class Answers:
    """Reads answers off a socket that the caller closes."""

    def __init__(self, sock: socket.socket) -> None:
        self.is_last = False
        """Whether the last answer so far says that none follows."""
        self._sock = sock
        self._data = bytearray()
        self._is_over = False

    def next(self, method: str = "GET") -> Answered:
        """The next answer. Raises EOFError where the connection ends before it is whole."""
        ahead: list[int] = []
        while True:
            status, fields = self._head()
            if status >= 200:
                break
            ahead.append(status)
        trailers = b""
        if method == "HEAD" or status in (204, 304):
            body = b""
        elif "chunked" in fields.get("transfer-encoding", ""):
            body, trailers = self._chunks()
        elif "content-length" in fields:
            body = self._exactly(int(fields["content-length"]))
        else:
            body = self.rest()
        self.is_last = self._is_over or fields.get("connection") == "close"
        return Answered(status, fields, body, tuple(ahead), trailers)

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        while self._more():
            pass
        found = bytes(self._data)
        self._data.clear()
        return found

    def until_refused(self, limit: int) -> list[tuple[int, bytes]]:
        """Status and content of the answers, up to ``limit`` or to the end of the connection,
        which the last may announce."""
        found: list[tuple[int, bytes]] = []
        while len(found) < limit and not self.is_last and (self._data or self._more()):
            found.append(self.next().said)
        return found

    def _head(self) -> tuple[int, dict[str, str]]:
        first, *lines = self._up_to(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = [line.split(":", 1) for line in lines]
        return int(first.split()[1]), {name.lower(): value.strip() for name, value in pairs}

    def _chunks(self) -> tuple[bytes, bytes]:
        parts = []
        while size := int(self._up_to(b"\r\n").split(b";")[0], 16):
            parts.append(self._exactly(size))
            assert self._exactly(2) == b"\r\n"
        trailers = b""
        while line := self._up_to(b"\r\n"):
            trailers += line + b"\r\n"
        return b"".join(parts), trailers

    def _up_to(self, end: bytes) -> bytes:
        searched = 0
        while (at := self._data.find(end, searched)) < 0:
            searched = max(len(self._data) - len(end), 0)
            if not self._more():
                raise EOFError(f"the connection ended after {bytes(self._data[:500])!r}")
        return self._take(at, len(end))

    def _exactly(self, size: int) -> bytes:
        while len(self._data) < size:
            if not self._more():
                raise EOFError(f"the connection ended after {len(self._data)} of {size} bytes")
        return self._take(size, 0)

    def _take(self, size: int, skipped: int) -> bytes:
        found = bytes(self._data[:size])
        del self._data[: size + skipped]
        return found

    def _more(self) -> bool:
        if self._is_over:
            return False
        try:
            data = self._sock.recv(65536)
        except ConnectionError:
            data = b""
        self._is_over = not data
        self._data += data
        return bool(data)
