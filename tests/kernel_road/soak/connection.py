"""A client's connection: every read and write of it ends in time."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from types import TracebackType
from typing import Self

from tests.kernel_road.soak.message import Answer

PATIENCE = 20.0
"""Seconds in which anything that is waited for happens."""
_RECEIVED = 1 << 16
_TCP_REPAIR = 19


class Ended(Exception):
    """The connection is over where it should not be: how, and what had come by then."""


class Connection:
    """A context manager. ``pause``: seconds before each read, for a reader that is slow.
    ``refused``: whether a request on it was."""

    def __init__(self, sock: socket.socket) -> None:
        self.pause = 0.0
        self.refused = False
        self._sock = sock
        self._data = bytearray()
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, host: str, port: int, buffer: int = 0) -> Connection:
        """``buffer``: bytes for what is received, 0 for the usual ones. Raises OSError."""
        sock = socket.socket(socket.AF_INET)
        try:
            sock.setblocking(False)
            if buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(PATIENCE):
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sock.close()

    def leave(self, how: str) -> None:
        """Closes it: ``end`` as usual, ``reset``, or ``vanish`` without a word to the other end."""
        if how == "reset":
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "vanish":
            self._sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        self._sock.close()

    async def send(self, data: bytes) -> None:
        """In one go, as far as the socket takes it. Raises Ended where that takes too long."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._loop.sock_sendall(self._sock, data)
        except ConnectionError:
            pass  # whoever reads on sees what came before, and that it ends
        except TimeoutError:
            raise Ended(f"nothing could be sent for {PATIENCE:g} s") from None

    async def receive(self) -> bool:
        """Takes what has come; False at the end. Raises OSError, also TimeoutError."""
        if self.pause:
            await asyncio.sleep(self.pause)
        async with asyncio.timeout(PATIENCE):
            data = await self._loop.sock_recv(self._sock, _RECEIVED)
        self._data += data
        return bool(data)

    async def answer(self, method: str) -> Answer:
        """The next answer. Raises Ended, and ValueError for what is none."""
        head = await self._up_to(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        fields = {}
        for line in lines:
            name, _, value = line.partition(": ")
            fields[name.lower()] = value
        status = int(first.removeprefix("HTTP/1.1 ").split()[0])
        if method == "HEAD" or not fields:  # one without fields is a short refusal
            body = b""
        elif "transfer-encoding" in fields:
            body = await self._chunks()
        else:
            body = await self._exactly(int(fields["content-length"]))
        return Answer(status, fields, head, body)

    async def end(self) -> str:
        """Waits for the end; what comes instead, if anything does."""
        try:
            while not self._data and await self.receive():
                pass
        except TimeoutError:
            return "no end"
        except ConnectionError:
            pass
        return repr(bytes(self._data[:200])) if self._data else ""

    async def _chunks(self) -> bytes:
        parts = []
        while size := int(await self._up_to(b"\r\n"), 16):
            parts.append(await self._exactly(size))
            if await self._exactly(2) != b"\r\n":
                raise ValueError("a chunk does not end where it should")
        if await self._exactly(2) != b"\r\n":
            raise ValueError("trailers that nobody sent")
        return b"".join(parts)

    async def _up_to(self, end: bytes) -> bytes:
        while (at := self._data.find(end)) < 0:
            await self._more()
        return self._take(at + len(end))

    async def _exactly(self, size: int) -> bytes:
        while len(self._data) < size:
            await self._more()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        found = bytes(self._data[:size])
        del self._data[:size]
        return found

    async def _more(self) -> None:
        try:
            if await self.receive():
                return
            how = "end"
        except TimeoutError:
            how = f"nothing for {PATIENCE:g} s"
        except OSError as error:
            how = errno.errorcode.get(error.errno or 0, str(error))
        raise Ended(f"{how} after {bytes(self._data[:200])!r} ({len(self._data)} bytes)")
