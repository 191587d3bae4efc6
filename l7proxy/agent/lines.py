"""Lines from another process, read as they come on the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_READ_BYTES = 65536
_LINE_BYTES = 1 << 20


class LineReader:
    """Calls ``take(lines)`` with whole lines, line ends included, until the writers are gone.

    What is longer than a MiB and no line, and what is left without a line end, is passed over.
    """

    def __init__(self, fd: int, take: Callable[[list[bytes]], None]) -> None:
        """``fd`` is the reading end of a pipe; it is closed at the end."""
        os.set_blocking(fd, False)
        self._fd = fd
        self._take = take
        self._rest = b""
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._readable)

    @classmethod
    def open(cls, take: Callable[[list[bytes]], None]) -> tuple[LineReader, int]:
        """A reader on a new pipe, and the end to write to, which is the caller's to close."""
        read, write = os.pipe()
        return cls(read, take), write

    def close(self) -> None:
        """Take what has been written, without waiting for more, and stop. May be repeated."""
        while not self._closed and self._readable():
            pass
        self._end()

    def _readable(self) -> bool:
        """Whether there was something to read."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._end()
            return False
        whole, newline, rest = data.rpartition(b"\n")
        if newline:
            self._take((self._rest + whole + newline).splitlines(keepends=True))
            self._rest = rest
        elif len(self._rest) < _LINE_BYTES:
            self._rest += rest
        return True

    def _end(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
