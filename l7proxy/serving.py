"""Small servers for this node's own tools and pages: one request a connection.

Time and number of connections are bounded, so that a client that sleeps costs nothing that matters.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Iterable
from http import HTTPStatus
from typing import Any

CONNECTIONS = 64
"""What one server holds at a time; more are closed at once."""

_READ_BYTES = 4096


class HeadTooLarge(Exception):
    """The head of a request is larger than the stream's limit."""


class Server(ABC):
    """``serve`` is for ``asyncio.start_server`` and ``start_unix_server``."""

    def __init__(self, seconds: float) -> None:
        """``seconds`` bound what ``converse`` puts into ``in_time``, and the closing."""
        self._seconds = seconds
        self._open: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request and write its answer.

        OSError, TimeoutError and EOFError mean that the client went away or slept.
        """

    def in_time(self) -> asyncio.Timeout:
        """Raises TimeoutError out of what takes too long."""
        return asyncio.timeout(self._seconds)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its request to the end of the answer."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            if len(self._open) <= CONNECTIONS:
                await self.converse(reader, writer)
                writer.close()
                async with self.in_time():
                    await writer.wait_closed()
        except (OSError, TimeoutError, EOFError):
            # Nothing is owed to a client that went away or slept.
            pass
        finally:
            self._open.discard(task)
            writer.transport.abort()

    def close(self) -> None:
        """End every connection that is open."""
        for task in self._open:
            task.cancel()


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """The head of a request, with the empty line. Raises HeadTooLarge, and EOFError."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise HeadTooLarge("the request head is too large") from None


def answer_head(status: int, fields: Iterable[tuple[str, str]]) -> bytes:
    """The head of an answer; without a Content-Length its content ends with the connection."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join((*lines, "\r\n")).encode("latin-1")


async def send(
    parts: AsyncIterator[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Write the parts as they come, until they end or the client closes, which reading tells."""
    work: tuple[Coroutine[Any, Any, None], ...] = (_write(parts, writer), _end(reader))
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _write(parts: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    async for part in parts:
        writer.write(part)
        # A client that reads too slowly holds up the parts; who makes them counts the loss.
        await writer.drain()


async def _end(reader: asyncio.StreamReader) -> None:
    while await reader.read(_READ_BYTES):
        pass
