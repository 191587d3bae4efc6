"""Content that programs find by a number, in an array of maps.

What is in force and its successor lie side by side, each in an inner map of its own, which is
written whole before it can be found. Equal content is there once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from l7proxy.datapath import libbpf

_ARRAY = 2  # BPF_MAP_TYPE_ARRAY
_INNER_KEY = bytes(4)


class Numbered:
    """The array of maps that is pinned at ``outer``.

    ``entries``: how many it has. ``value_bytes``: of the one value of each inner map. What an
    agent before this one has put there is taken for content that nobody knows.
    """

    def __init__(self, outer: Path, entries: int, value_bytes: int) -> None:
        """Raises OSError."""
        self._name = outer.name[:15]
        self._outer = libbpf.obj_get(outer)
        self._entries = entries
        self._value_bytes = value_bytes
        self._numbers: dict[str, int] = {}
        self._used = {
            number
            for number in range(entries)
            if libbpf.map_lookup(self._outer, _key(number), 4) is not None
        }

    @property
    def used(self) -> frozenset[int]:
        """The numbers that have content."""
        return frozenset(self._used)

    def assign(self, digest: str, make: Callable[[], bytes]) -> int:
        """The number of the content that ``digest`` names, which ``make`` gives where it is new.

        Raises OSError, ENOSPC where every number is taken, and what ``make`` raises.
        """
        known = self._numbers.get(digest)
        if known is not None:
            return known
        number = next((each for each in range(self._entries) if each not in self._used), None)
        if number is None:
            raise OSError(28, f"all {self._entries} numbers of {self._name} are taken")
        self.put(number, digest, make())
        return number

    def put(self, number: int, digest: str, value: bytes) -> None:
        """Gives content a certain number. Raises OSError."""
        if len(value) != self._value_bytes:
            raise ValueError(f"{self._name} takes {self._value_bytes} bytes, not {len(value)}")
        inner = libbpf.map_create(_ARRAY, self._name, len(_INNER_KEY), self._value_bytes, 1)
        try:
            libbpf.map_update(inner, _INNER_KEY, value)
            libbpf.map_update(self._outer, _key(number), inner.to_bytes(4, sys.byteorder))
        finally:
            os.close(inner)  # the outer map holds it
        self._used.add(number)
        self._numbers[digest] = number

    def retire(self, keep: Collection[int]) -> None:
        """Frees every number but those in ``keep``. Each takes a grace period of the kernel."""
        for number in self._used.difference(keep):
            libbpf.map_delete(self._outer, _key(number))
        self._used.intersection_update(keep)
        self._numbers = {
            digest: number for digest, number in self._numbers.items() if number in self._used
        }

    def close(self) -> None:
        """Lets go; what is pinned stays."""
        os.close(self._outer)


def _key(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)
