"""Lines gathered in memory and written by a thread of its own.

Nothing waits for their reader: one that stops makes lines pile up to a bound, and from there on
they are dropped and counted. Lines of several processes share a file without mixing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

FLUSH_SECONDS = 0.5
_BATCH_BYTES = 65536
_BUFFER_BYTES = 4 << 20
_CLOSE_SECONDS = 1.0


class LineWriter:
    """Writes whole lines to ``fd`` (which it does not close) every ``seconds`` at least.

    ``lock`` names a file that all writers of the same log lock around a batch; without it only
    one may write large batches to a pipe. ``buffer_bytes`` bounds what waits in memory.
    ``lost_line(count)`` gives the line that tells the reader how many there was no room for.
    """

    def __init__(
        self,
        fd: int,
        lock: Path | None = None,
        buffer_bytes: int = _BUFFER_BYTES,
        seconds: float = FLUSH_SECONDS,
        lost_line: Callable[[int], bytes] | None = None,
    ) -> None:
        self._fd = fd
        self._lock_fd = None if lock is None else os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        self._limit = buffer_bytes
        self._seconds = seconds
        self._lost_line = lost_line
        self._lines: deque[bytes] = deque()
        self._accepted = self._taken = 0
        self._refused = self._failed = self._told = 0
        self._wake = threading.Event()
        self._written = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """How many lines were dropped: no room, or the write failed."""
        return self._refused + self._failed

    def write(self, line: bytes) -> None:
        """Queue one line, line end included. Never blocks and never raises."""
        waiting = self._accepted - self._taken
        if waiting + len(line) > self._limit:
            self._refused += 1
            return
        self._accepted += len(line)
        self._lines.append(line)
        if waiting > _BATCH_BYTES:
            self._wake.set()

    def wait_for_room(self, seconds: float) -> bool:
        """Whether half of the buffer is free, now or within so long: for who can come later."""
        until = time.monotonic() + seconds
        while True:
            self._written.clear()
            if self._accepted - self._taken <= self._limit // 2:
                return True
            self._wake.set()
            if not self._written.wait(max(0.0, until - time.monotonic())):
                return False

    def flush_soon(self) -> None:
        """Do not wait for the time to pass."""
        self._wake.set()

    def close(self) -> None:
        """Write what is queued, for a second at most, and stop."""
        self._closing = True
        self._wake.set()
        self._thread.join(_CLOSE_SECONDS)
        if self._lock_fd is not None and not self._thread.is_alive():
            os.close(self._lock_fd)
            self._lock_fd = None

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(self._seconds)
            self._wake.clear()
            self._drain()
        self._drain()

    def _drain(self) -> None:
        while self._lines or self._is_to_be_told():
            batch: list[bytes] = []
            size = 0
            news = b""
            while self._lines and size < _BATCH_BYTES:
                line = self._lines.popleft()
                batch.append(line)
                size += len(line)
            if self._lost_line is not None and not self._lines and self._is_to_be_told():
                refused = self._refused
                news = self._lost_line(refused - self._told)
                self._told = refused
            try:
                with self._exclusive():
                    self._write_all(b"".join((*batch, news)))
            except OSError:
                self._failed += len(batch)
            self._taken += size
            self._written.set()

    def _is_to_be_told(self) -> bool:
        """Also with no line to write: all that came during the last batch may have been dropped."""
        return self._lost_line is not None and self._refused > self._told

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """A pipe takes a large write in pieces: hold other writers off until it is whole."""
        if self._lock_fd is None:
            yield
            return
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                room = select.poll()
                room.register(self._fd, select.POLLOUT)
                room.poll(FLUSH_SECONDS * 1000)
