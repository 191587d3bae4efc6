"""Reading a BPF ring buffer: the memory that the programs write and only we take from.

The layout is that of kernel/bpf/ringbuf.c: a page with the consumer's position, which is ours to
write, a page with the producer's, and the data twice in a row, so that a record that goes over the
end can be read in one piece.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from l7proxy.datapath import libbpf

_BUSY, _DISCARDED = 1 << 31, 1 << 30
_HEADER = 8
_LENGTH = struct.Struct("=I")


class Ring:
    """The ring buffer that is pinned at ``path`` and holds ``size`` bytes; one reader at a time."""

    def __init__(self, path: Path, size: int) -> None:
        """Raises OSError."""
        page = mmap.PAGESIZE
        fd = libbpf.obj_get(path)
        try:
            self._consumer = mmap.mmap(fd, page)
            self._shared = mmap.mmap(fd, page + 2 * size, prot=mmap.PROT_READ, offset=page)
        finally:
            os.close(fd)
        # Positions are read and written as whole words, which another processor never sees halved.
        self._taken = memoryview(self._consumer).cast("Q")
        self._made = memoryview(self._shared).cast("Q")
        self._data = memoryview(self._shared)[page:]
        self._mask = size - 1

    def take(self, most: int) -> Iterator[bytes]:
        """The records that are there, ``most`` at most; each is gone once the next is asked for."""
        at, end = self._taken[0], self._made[0]
        while at < end and most:
            place = at & self._mask
            (length,) = _LENGTH.unpack_from(self._data, place)
            if length & _BUSY:
                return  # a program is still writing it; nothing behind it can be taken before
            size = length & ~_DISCARDED
            if not length & _DISCARDED:
                most -= 1
                yield bytes(self._data[place + _HEADER : place + _HEADER + size])
            at += _HEADER + size + 7 & ~7
            self._taken[0] = at

    def close(self) -> None:
        """Let go; the ring stays."""
        for view in (self._taken, self._made, self._data):
            view.release()
        self._consumer.close()
        self._shared.close()
