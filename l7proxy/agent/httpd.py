"""A small HTTP/1.1 server for the agent's own questions: one request a connection.

It serves the admin socket and the metrics address, both for this node's own tools. Time, size and
number of connections are bounded, so that a client that sleeps costs nothing that matters. Only a
``Stream`` lasts as long as its client; how many there are is its handler's to bound.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

HEAD_BYTES = 16384
"""For the ``limit`` of ``asyncio.start_server``."""

_BODY_BYTES = 1 << 20
_LENGTH_DIGITS = 18
_SECONDS = 10.0
_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Question:
    """``query`` has the last value of each name; one without a value has an empty one."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer whose content goes on until ``parts`` ends or the client goes away.

    ``closed()`` is called once at the end, also where no part was ever asked for.
    """

    parts: AsyncIterator[bytes]
    content_type: str
    headers: Mapping[str, str]
    closed: Callable[[], None]


Handler = Callable[[Question], Awaitable[Answer | Stream]]


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def json_answer(document: Any, status: int = 200) -> Answer:
    """``document`` as one JSON text."""
    return Answer(status, json.dumps(document).encode() + b"\n")


def error_answer(status: int, message: str) -> Answer:
    """``{"error": message}``."""
    return json_answer({"error": message}, status)


class HttpServer:
    """Answers every question with ``handler``, whatever it raises."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._open: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: for ``asyncio.start_server`` and ``start_unix_server``."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            if len(self._open) <= _CONNECTIONS:
                await self._converse(reader, writer)
                writer.close()
                async with asyncio.timeout(_SECONDS):
                    await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            # The client went away or slept; nothing is owed to it.
            pass
        finally:
            self._open.discard(task)
            writer.transport.abort()

    def close(self) -> None:
        """End every connection that is open."""
        for task in self._open:
            task.cancel()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_SECONDS):
            answer = await self._answer(reader)
            if isinstance(answer, Answer):
                writer.write(_head(answer) + answer.body)
                await writer.drain()
                return
        try:
            writer.write(_head(answer))
            await _while_there(_send(answer.parts, writer), reader)
        finally:
            answer.closed()

    async def _answer(self, reader: asyncio.StreamReader) -> Answer | Stream:
        try:
            return await self._handler(await _read(reader))
        except _Refused as refused:
            return error_answer(refused.status, str(refused))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            raise
        except Exception as error:
            # One question must not take the agent down; say what happened to who asked.
            return error_answer(500, f"{type(error).__name__}: {error}")


def _head(answer: Answer | Stream) -> bytes:
    """A stream has no length: its content ends with the connection."""
    fields = {"Content-Type": answer.content_type, "Connection": "close"}
    if isinstance(answer, Answer):
        status = HTTPStatus(answer.status)
        fields["Content-Length"] = str(len(answer.body))
    else:
        status = HTTPStatus.OK
        fields.update(answer.headers)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join((*lines, "\r\n")).encode("latin-1")


async def _send(parts: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    async for part in parts:
        writer.write(part)
        await writer.drain()


async def _while_there(work: Coroutine[Any, Any, None], reader: asyncio.StreamReader) -> None:
    """Do ``work`` until it ends or the client closes, which only reading tells."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_end(reader))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _end(reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):
        pass


async def _read(reader: asyncio.StreamReader) -> Question:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise _Refused(431, "the request head is too large") from None
    request_line, *lines = head.decode("latin-1").split("\r\n")
    words = request_line.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _Refused(400, "not an HTTP/1 request")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
        raise _Refused(411, "send a Content-Length")
    # int() takes no more than some thousand digits.
    if len(length) > _LENGTH_DIGITS or int(length) > _BODY_BYTES:
        raise _Refused(413, "the request body is too large")
    body = await reader.readexactly(int(length))
    path, _, query = words[1].partition("?")
    found = dict(parse_qsl(query, keep_blank_values=True))
    return Question(words[0], path, headers, body, found)
