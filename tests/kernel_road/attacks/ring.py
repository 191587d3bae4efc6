"""io_uring with nothing but the standard library: enough to send on a socket."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from types import TracebackType
from typing import Self

_SETUP, _ENTER = 425, 426
"""System calls; the same numbers on every architecture."""
_SQ_RING, _CQ_RING, _SQES = 0, 0x8000000, 0x10000000
_GETEVENTS = 1
_ASYNC = 1 << 4
_OPERATIONS = {"send": (26, 0), "worker": (26, _ASYNC), "zero-copy": (47, 0)}
"""Opcode and flags. A zero-copy send has a second completion when the memory is free."""
_MORE = 1 << 1
_ENTRIES = 4
_PARAMS = 120
_SQE = 64
_CQE = 16


class Ring:
    """A ring with room for a few operations, one at a time. Raises OSError."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        params = ctypes.create_string_buffer(_PARAMS)
        self._fd = self._call(_SETUP, _ENTRIES, params)
        entries = struct.unpack_from("8I", params.raw)
        sq = struct.unpack_from("8I", params.raw, 40)
        cq = struct.unpack_from("8I", params.raw, 80)
        self._sq_tail, self._sq_mask, self._array = sq[1], sq[2], sq[6]
        self._cq_head, self._cq_tail, self._cq_mask, self._cqes = cq[0], cq[1], cq[2], cq[5]
        self._sq_map = mmap.mmap(self._fd, sq[6] + 4 * entries[0], offset=_SQ_RING)
        self._cq_map = mmap.mmap(self._fd, cq[5] + _CQE * entries[1], offset=_CQ_RING)
        self._sqe_map = mmap.mmap(self._fd, _SQE * entries[0], offset=_SQES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def send(self, sock: int, data: bytes, operation: str) -> int:
        """The operation's result: bytes sent, or a negative errno."""
        opcode, flags = _OPERATIONS[operation]
        buffer = ctypes.create_string_buffer(data, len(data))
        tail = self._number(self._sq_map, self._sq_tail)
        slot = tail & self._number(self._sq_map, self._sq_mask)
        sqe = struct.pack(
            "=BBHiQQII32x", opcode, flags, 0, sock, 0, ctypes.addressof(buffer), len(data), 0
        )
        self._sqe_map[slot * _SQE : (slot + 1) * _SQE] = sqe
        struct.pack_into("I", self._sq_map, self._array + 4 * slot, slot)
        struct.pack_into("I", self._sq_map, self._sq_tail, tail + 1)
        self._call(_ENTER, self._fd, 1, 1, _GETEVENTS, None, 0)
        result, more = self._completed()
        while more:
            if self._number(self._cq_map, self._cq_head) == self._number(
                self._cq_map, self._cq_tail
            ):
                self._call(_ENTER, self._fd, 0, 1, _GETEVENTS, None, 0)
            _, more = self._completed()
        return result

    def _completed(self) -> tuple[int, bool]:
        head = self._number(self._cq_map, self._cq_head)
        at = self._cqes + _CQE * (head & self._number(self._cq_map, self._cq_mask))
        result, flags = struct.unpack_from("=8xiI", self._cq_map, at)
        struct.pack_into("I", self._cq_map, self._cq_head, head + 1)
        return result, bool(flags & _MORE)

    def _number(self, ring: mmap.mmap, at: int) -> int:
        return int(struct.unpack_from("I", ring, at)[0])

    def _call(self, number: int, *arguments: object) -> int:
        result = int(self._libc.syscall(number, *arguments))
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result
