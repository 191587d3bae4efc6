"""Asking the running agent: one question a connection, the answer whole or as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from l7proxy.http.body import BodyReader, reader
from l7proxy.http.refused import Refused
from l7proxy.http.response import parse_response
from l7proxy.limits import Limits

_SECONDS = 10.0
_READ_BYTES = 65536

# Every workload of a large cluster, and to spare.
_ANSWER_BYTES = 64 << 20


class AgentAway(Exception):
    """No agent answers, or its answer broke off; the text says which, in one line."""


class Reply:
    """An answer whose head has been read."""

    def __init__(self, status: int, body: BodyReader, source: asyncio.StreamReader) -> None:
        self.status = status
        self._body = body
        self._source = source

    async def pieces(self) -> AsyncIterator[bytes]:
        """The content as it comes, for as long as it takes. Raises AgentAway."""
        while not self._body.done:
            try:
                data = await self._source.read(_READ_BYTES)
                found, _ = self._body.feed(data)
            except (OSError, Refused) as error:
                raise AgentAway(f"the agent's answer is broken: {error}") from None
            for piece in found:
                yield piece
            if not data and not self._body.eof():
                raise AgentAway("the agent's answer broke off")

    async def whole(self) -> bytes:
        """All of the content. Raises AgentAway."""
        content = bytearray()
        async for piece in self.pieces():
            content += piece
            if len(content) > _ANSWER_BYTES:
                raise AgentAway("the agent's answer is too large")
        return bytes(content)


class Agent:
    """The agent that answers on the Unix socket ``path``."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits

    async def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and content of the answer. Raises AgentAway."""
        try:
            async with asyncio.timeout(_SECONDS), self.asked(method, target, body) as reply:
                return reply.status, await reply.whole()
        except TimeoutError:
            raise AgentAway(f"the agent did not answer in {_SECONDS:.0f} seconds") from None

    @asynccontextmanager
    async def asked(self, method: str, target: str, body: bytes = b"") -> AsyncIterator[Reply]:
        """The answer to a question, which ends with the context. Raises AgentAway."""
        try:
            async with asyncio.timeout(_SECONDS):
                source, sink = await asyncio.open_unix_connection(
                    self._path, limit=self._limits.head_bytes
                )
        except (OSError, TimeoutError) as error:
            reason = (getattr(error, "strerror", None) or "time-out").lower()
            raise AgentAway(
                f"no agent answers at {self._path} ({reason}); start one with: l7proxy run"
            ) from None
        try:
            sink.write(
                f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode("latin-1")
                + body
            )
            yield await self._head(method, source)
        finally:
            sink.transport.abort()

    async def _head(self, method: str, source: asyncio.StreamReader) -> Reply:
        try:
            async with asyncio.timeout(_SECONDS):
                head = await source.readuntil(b"\r\n\r\n")
            response = parse_response(head, method.encode(), self._limits)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, Refused):
            raise AgentAway("the agent does not answer as an agent does") from None
        return Reply(response.status, reader(response.framing, self._limits, upstream=True), source)
