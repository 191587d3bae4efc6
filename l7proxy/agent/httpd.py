"""A small HTTP/1.1 server for the agent's own questions: one request a connection.

It serves the admin socket and the metrics address, both for this node's own tools. Time, size and
number of connections are bounded, so that a client that sleeps costs nothing that matters.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

HEAD_BYTES = 16384
"""For the ``limit`` of ``asyncio.start_server``."""

_BODY_BYTES = 1 << 20
_SECONDS = 10.0
_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Question:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str = "application/json"


Handler = Callable[[Question], Awaitable[Answer]]


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
                async with asyncio.timeout(_SECONDS):
                    await self._converse(reader, writer)
                    writer.close()
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
        try:
            question = await _read(reader)
            answer = await self._handler(question)
        except _Refused as refused:
            answer = error_answer(refused.status, str(refused))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            raise
        except Exception as error:
            # One question must not take the agent down; say what happened to who asked.
            answer = error_answer(500, f"{type(error).__name__}: {error}")
        reason = HTTPStatus(answer.status).phrase
        writer.write(
            f"HTTP/1.1 {answer.status} {reason}\r\n"
            f"Content-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(answer.body)}\r\n"
            "Connection: close\r\n\r\n".encode("latin-1")
            + answer.body
        )
        await writer.drain()


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
    if int(length) > _BODY_BYTES:
        raise _Refused(413, "the request body is too large")
    body = await reader.readexactly(int(length))
    return Question(words[0], words[1].partition("?")[0], headers, body)
