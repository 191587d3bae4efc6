"""Answers a browser: the page's files, and a few questions that are passed on to the agent."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus

from l7proxy import serving
from l7proxy.http.refused import Refused
from l7proxy.http.request import parse_request
from l7proxy.limits import Limits
from l7proxy.ui import guard
from l7proxy.ui.agent import Agent, AgentAway
from l7proxy.ui.files import File

_SECONDS = 20.0
_STREAMS = 16

_JSON = "application/json"
_READ = {"/api/status": "/status", "/api/workloads": "/workloads", "/api/policies": "/policies"}
_LAST = re.compile(r"last=([0-9]{1,5})")


class Server(serving.Server):
    """The page and its questions."""

    def __init__(self, agent: Agent, files: Mapping[str, File], limits: Limits) -> None:
        super().__init__(_SECONDS)
        self._agent = agent
        self._files = files
        self._limits = limits
        self._streams = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self.in_time():
                request = parse_request(await serving.read_head(reader), self._limits)
                guard.check(request, writer.get_extra_info("sockname")[0])
                length = request.framing
                body = await reader.readexactly(length) if isinstance(length, int) else b""
                path, _, query = request.path.decode("latin-1").partition("?")
                if request.method == b"GET" and path == "/api/flows":
                    follow = _flows_target(query)
                else:
                    status, content, kind = await self._answer(request.method, path, body)
                    writer.write(_head(status, kind, len(content)) + content)
                    await writer.drain()
                    return
            await self._stream(follow, reader, writer)
        except guard.NotAllowed as error:
            await _complain(writer, error.status, str(error), error.allow)
        except serving.HeadTooLarge as error:
            await _complain(writer, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, str(error))
        except Refused as error:
            await _complain(writer, HTTPStatus.BAD_REQUEST, str(error))
        except AgentAway as error:
            await _complain(writer, HTTPStatus.BAD_GATEWAY, str(error))

    async def _answer(self, method: bytes, path: str, body: bytes) -> tuple[int, bytes, str]:
        """Status, content and its type. Raises NotAllowed, AgentAway."""
        if path == "/api/explain":
            if method != b"POST":
                raise guard.NotAllowed(405, "explain is asked by POST", "POST")
            return *await self._agent.ask("POST", "/explain", body), _JSON
        if method != b"GET":
            raise guard.NotAllowed(405, "this server only reads", "GET")
        if path in _READ:
            return *await self._agent.ask("GET", _READ[path]), _JSON
        file = self._files.get(path)
        if file is None:
            raise guard.NotAllowed(404, f"{path} is not here")
        return 200, file.content, file.content_type

    async def _stream(
        self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """The agent's flows as they come, until either side goes away."""
        if self._streams >= _STREAMS:
            raise guard.NotAllowed(503, f"{_STREAMS} pages are open already: close one")
        self._streams += 1
        try:
            async with self._agent.asked("GET", target) as reply:
                if reply.status != HTTPStatus.OK:
                    content = await reply.whole()
                    writer.write(_head(reply.status, _JSON, len(content)) + content)
                    return
                writer.write(_head(HTTPStatus.OK, "application/x-ndjson"))
                await serving.send(reply.pieces(), reader, writer)
        finally:
            self._streams -= 1


def _flows_target(query: str) -> str:
    """The agent's own question for ``last=N``. Raises NotAllowed."""
    match = _LAST.fullmatch(query)
    if match is None:
        raise guard.NotAllowed(400, "ask for /api/flows?last=N, N up to 99999")
    return f"/flows?last={int(match[1])}&follow=1"


async def _complain(
    writer: asyncio.StreamWriter, status: int, message: str, allow: str | None = None
) -> None:
    content = json.dumps({"error": message}).encode() + b"\n"
    writer.write(_head(status, _JSON, len(content), allow) + content)
    await writer.drain()


def _head(
    status: int, content_type: str, length: int | None = None, allow: str | None = None
) -> bytes:
    fields = [("Date", formatdate(usegmt=True)), ("Content-Type", content_type), *guard.HEADERS]
    if length is not None:
        fields.append(("Content-Length", str(length)))
    if allow is not None:
        fields.append(("Allow", allow))
    return serving.answer_head(status, fields)
