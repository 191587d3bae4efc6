"""A small HTTP/1.1 server for the agent's own questions: one request a connection.

It serves the admin socket and the metrics address, both for this node's own tools. Only a
``Stream`` lasts as long as its client; how many there are is its handler's to bound.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from l7proxy.serving import HeadTooLarge, Server, answer_head, read_head, send

HEAD_BYTES = 16384
"""For the ``limit`` of ``asyncio.start_server``."""

_BODY_BYTES = 1 << 20
_LENGTH_DIGITS = 18
_SECONDS = 10.0


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


class HttpServer(Server):
    """Answers every question with ``handler``, whatever it raises."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(_SECONDS)
        self._handler = handler

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self.in_time():
            answer = await self._answer(reader)
            if isinstance(answer, Answer):
                writer.write(_head(answer) + answer.body)
                await writer.drain()
                return
        try:
            writer.write(_head(answer))
            await send(answer.parts, reader, writer)
        finally:
            answer.closed()

    async def _answer(self, reader: asyncio.StreamReader) -> Answer | Stream:
        try:
            return await self._handler(await _read(reader))
        except _Refused as refused:
            return error_answer(refused.status, str(refused))
        except HeadTooLarge as error:
            return error_answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, str(error))
        except (OSError, TimeoutError, EOFError):
            raise
        except Exception as error:
            # One question must not take the agent down; say what happened to who asked.
            return error_answer(500, f"{type(error).__name__}: {error}")


def _head(answer: Answer | Stream) -> bytes:
    fields = {"Content-Type": answer.content_type}
    if isinstance(answer, Answer):
        fields["Content-Length"] = str(len(answer.body))
        return answer_head(answer.status, fields.items())
    return answer_head(HTTPStatus.OK, (fields | dict(answer.headers)).items())


async def _read(reader: asyncio.StreamReader) -> Question:
    head = await read_head(reader)
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
