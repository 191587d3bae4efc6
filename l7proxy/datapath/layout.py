"""Keys and values of maps as bytes, by the layouts that the compiled module has."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l7proxy.datapath import libbpf


@dataclass(frozen=True, slots=True)
class Field:
    """``count`` elements of ``width`` bytes at ``offset``."""

    offset: int
    width: int
    count: int


_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Layout:
    """A C structure, or a bare number where it has no fields."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        self.size = int(described["size"])
        self._fields = {
            str(name): Field(offset, width, count)
            for name, offset, width, count in described["fields"]
        }
        self._struct = struct.Struct(self._format())

    def pack(self, value: int | Mapping[str, int | bytes]) -> bytes:
        """The structure's bytes. Arrays are given as bytes; what is left out is zero.

        Raises KeyError for a field that the structure does not have.
        """
        if isinstance(value, int):
            return value.to_bytes(self.size, sys.byteorder)
        packed = bytearray(self.size)
        for name, content in value.items():
            field = self._fields[name]
            length = field.width * field.count
            if isinstance(content, int):
                content = content.to_bytes(length, sys.byteorder)
            if len(content) != length:
                raise ValueError(f"{name} takes {length} bytes, not {len(content)}")
            packed[field.offset : field.offset + length] = content
        return bytes(packed)

    def unpack(self, packed: bytes) -> dict[str, Any]:
        """Field by field: numbers, and bytes for arrays and for structures inside."""
        return dict(zip(self._fields, self._struct.unpack_from(packed), strict=True))

    def _format(self) -> str:
        parts, at = ["="], 0
        for field in self._fields.values():
            length = field.width * field.count
            code = _CODES.get(length) if field.count == 1 else None
            parts.append(f"{field.offset - at}x{code or f'{length}s'}")
            at = field.offset + length
        return "".join(parts)

    def unpacked(self, packed: bytes) -> Any:
        """As ``unpack``; a bare number as it is."""
        return self.unpack(packed) if self._fields else int.from_bytes(packed, sys.byteorder)


class Table:
    """One pinned map. Keys and values are numbers or mappings of fields, as its layout is."""

    def __init__(self, path: Path, described: Mapping[str, Any]) -> None:
        self.fd = libbpf.obj_get(path)
        self.key = Layout(described["key"])
        self.value = Layout(described["value"])

    def set(self, key: int | Mapping[str, Any], value: int | Mapping[str, Any]) -> None:
        """Raises OSError, E2BIG where the map is full."""
        libbpf.map_update(self.fd, self.key.pack(key), self.value.pack(value))

    def number(self, key: int | Mapping[str, Any]) -> int | None:
        """The value of a map of plain numbers."""
        found = libbpf.map_lookup(self.fd, self.key.pack(key), self.value.size)
        return None if found is None else int.from_bytes(found, sys.byteorder)

    def get(self, key: int | Mapping[str, Any]) -> dict[str, Any] | None:
        """The value of a map of structures."""
        found = libbpf.map_lookup(self.fd, self.key.pack(key), self.value.size)
        return None if found is None else self.value.unpack(found)

    def delete(self, key: int | Mapping[str, Any]) -> bool:
        """False if there was no such entry."""
        return libbpf.map_delete(self.fd, self.key.pack(key))

    def keys(self) -> Iterator[bytes]:
        """All keys, packed."""
        return libbpf.map_keys(self.fd, self.key.size)

    def values(self) -> Iterator[bytes]:
        """All values, packed, but those whose key goes meanwhile."""
        for key in self.keys():
            value = libbpf.map_lookup(self.fd, key, self.value.size)
            if value is not None:
                yield value

    def __len__(self) -> int:
        return sum(1 for _ in self.keys())
