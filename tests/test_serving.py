"""The connections of a small server: bounded in number and in time, and ended with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from l7proxy.serving import CONNECTIONS, HeadTooLarge, Server, answer_head, read_head, send

GET = b"GET / HTTP/1.1\r\n\r\n"
LONG = 60.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo(Server):
    """Answers with the head that it has read, again and again for ``forever``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.begun = asyncio.Queue[None]()
        self.ended = asyncio.Event()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.begun.put_nowait(None)
        async with self.in_time():
            try:
                head = await read_head(reader)
            except HeadTooLarge:
                head = b"too large"
        writer.write(answer_head(200, [("A", "b")]) + head)
        if b"/forever" in head:
            try:
                await send(self._parts(), reader, writer)
            finally:
                self.ended.set()

    async def _parts(self) -> AsyncIterator[bytes]:
        while True:
            yield b"part"
            await asyncio.sleep(0)


@asynccontextmanager
async def echo(seconds: float = LONG) -> AsyncIterator[tuple[Echo, int]]:
    """A server and its port."""
    server = Echo(seconds)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1024)
    try:
        yield server, listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        server.close()


@asynccontextmanager
async def client(port: int, said: bytes = b"") -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(said)
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def heard(reader: asyncio.StreamReader) -> bytes:
    """All that the server says, without the head; nothing where it has hung up."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(65536):
            answer += part
    return answer.partition(b"\r\n\r\n")[2]


def test_an_answer_ends_the_connection() -> None:
    async def run() -> None:
        async with echo() as (_, port):
            async with client(port, GET) as (reader, _):
                assert await heard(reader) == GET
            async with client(port, b"x" * 2000) as (reader, _):
                assert await heard(reader) == b"too large"

    asyncio.run(run())


def test_who_comes_when_all_places_are_taken_is_sent_away() -> None:
    async def run() -> None:
        async with echo() as (server, port), contextlib.AsyncExitStack() as stack:
            for _ in range(CONNECTIONS):
                await stack.enter_async_context(client(port))
                await server.begun.get()
            async with client(port, GET) as (reader, _):
                assert await heard(reader) == b""
            await stack.aclose()
            answer = b""
            while not answer:  # until the server has noticed that they left
                async with client(port, GET) as (reader, _):
                    answer = await heard(reader)
            assert answer == GET

    asyncio.run(run())


def test_a_client_that_sleeps_is_left() -> None:
    async def run() -> None:
        async with echo(seconds=0.05) as (_, port), client(port, GET[:-2]) as (reader, _):
            assert await heard(reader) == b""

    asyncio.run(run())


def test_parts_end_with_their_client_or_with_the_server() -> None:
    async def run() -> None:
        forever = b"GET /forever HTTP/1.1\r\n\r\n"
        async with echo() as (server, port):
            async with client(port, forever) as (reader, writer):
                await reader.readuntil(b"partpart")
                writer.write_eof()
                await server.ended.wait()
            server.ended.clear()
            async with client(port, forever) as (reader, _):
                await reader.readuntil(b"partpart")
                server.close()
                await server.ended.wait()
                await heard(reader)

    asyncio.run(run())
