"""The server of the soak: answers what comes, and says what should never have come.

``python -m tests.kernel_road.soak.server HOST PORT``; ends when standard input does. It refuses
nothing and gives up only those who are silent, so whatever the kernel lets through is found.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import SupportsIndex

from tests.kernel_road.soak.message import content

SILENCE = 30.0
"""Seconds after which a client is taken for gone; the idle ones of the soak are faster."""
_EVERY = 5.0  # seconds between reports
_SHOWN = 20
_PIECE = 1 << 16
_CHUNK = 10_000
_HEAD = re.compile(
    r"(?:GET|HEAD|POST|PUT) (/(ok|no|turn)/(length|chunked)/(\d+)/[\w-]+) HTTP/1\.1\r\n"
)


class Reader(asyncio.StreamReader):
    """Knows how often something has come."""

    received = 0

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.received += 1
        super().feed_data(data)


class Server:
    """``requests`` by family; ``denied`` and ``garbled``: what should not be there, cut short."""

    def __init__(self) -> None:
        self.connections = 0
        self.open = 0
        self.requests: Counter[str] = Counter()
        self.denied: list[str] = []
        self.garbled: list[str] = []

    def report(self) -> str:
        """All of it as a line."""
        return json.dumps(vars(self))

    async def serve(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        self.open += 1
        # One watch for a connection costs less than a timeout for each of its reads.
        watch = asyncio.create_task(_watch(reader, writer))
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # the client left
                while await self._request(reader, writer):
                    pass
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        finally:
            watch.cancel()
            self.open -= 1

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether another may follow."""
        head = "\r\n"
        while head in ("\r\n", "\n"):  # in the place of what was refused (RFC 9112 2.2)
            head = (await reader.readuntil(b"\n")).decode("latin-1")
        head += (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        found = _HEAD.match(head)
        if not found:
            self._note(self.garbled, head)
            return False
        target, family, how, size = found.groups()
        self.requests[family] += 1
        if family == "no":
            self._note(self.denied, head)
        fields = dict(
            line.lower().split(": ", 1) for line in head[found.end() :].split("\r\n") if line
        )
        try:
            if "transfer-encoding" in fields:
                body = await _chunks(reader)
            else:
                body = await reader.readexactly(int(fields.get("content-length", "0")))
        except ValueError as error:
            self._note(self.garbled, f"{target}: {error}")
            return False
        closes = fields.get("connection") == "close"
        answer = content(target, int(size), body)
        await _answer(writer, fields["number"], how, answer, head.startswith("HEAD"), closes)
        return not closes

    def _note(self, where: list[str], what: str) -> None:
        where.append(what[:200] if len(where) < _SHOWN else "")


async def _watch(reader: Reader, writer: asyncio.StreamWriter) -> None:
    """Ends a connection on which nothing moves: a client may be gone without a word."""
    before, since = None, time.monotonic()
    while True:
        await asyncio.sleep(SILENCE / 6)
        transport = writer.transport
        state = (transport.get_write_buffer_size(), reader.received)
        if state != before:
            before, since = state, time.monotonic()
        elif time.monotonic() - since >= SILENCE:
            transport.abort()
            return


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append(await reader.readexactly(size))
        if await reader.readexactly(2) != b"\r\n":
            raise ValueError("a chunk does not end where it should")
    if await reader.readexactly(2) != b"\r\n":
        raise ValueError("trailers that nobody sent")
    return b"".join(parts)


async def _answer(
    writer: asyncio.StreamWriter, number: str, how: str, body: bytes, is_head: bool, closes: bool
) -> None:
    framing = "Transfer-Encoding: chunked" if how == "chunked" else f"Content-Length: {len(body)}"
    lines = ["HTTP/1.1 200 OK", f"Number: {number}", framing]
    if closes:
        lines.append("Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode()
    if is_head:
        body = b""
    elif how == "chunked":
        pieces = [body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    whole = head + body
    piece = len(whole) if how == "chunked" else _PIECE
    for at in range(0, len(whole), piece):
        writer.write(whole[at : at + piece])
        await writer.drain()


async def main(host: str, port: int) -> None:
    """Serves and reports until standard input ends."""
    loop = asyncio.get_running_loop()
    server = Server()
    over = asyncio.Event()
    loop.add_reader(sys.stdin, over.set)

    def connected() -> asyncio.StreamReaderProtocol:
        reader = Reader()
        return asyncio.StreamReaderProtocol(reader, lambda _, writer: server.serve(reader, writer))

    async with await loop.create_server(connected, host, port, backlog=512):
        while not over.is_set():
            print(server.report(), flush=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), _EVERY)
    print(server.report(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
