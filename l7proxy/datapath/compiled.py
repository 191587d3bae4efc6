"""What the compiler makes of the sources: maps to be created and instructions that name them.

It is data and nothing else, so that it can be kept and loaded by a process without a compiler.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class MapShape:
    """A map as the kernel is asked for it; ``kind`` is enum bpf_map_type, sizes are in bytes.

    ``key_type`` and ``value_type`` are types of the module's BTF, 0 where none is told.
    """

    kind: int
    key_size: int
    value_size: int
    entries: int
    flags: int
    key_type: int
    value_type: int


@dataclass(frozen=True, slots=True)
class Code:
    """A program's instructions. ``maps``: (offset in bytes, name of the map whose descriptor the
    instruction there has to hold)."""

    instructions: bytes
    maps: tuple[tuple[int, str], ...]

    def linked(self, descriptors: Mapping[str, int]) -> bytes:
        """The instructions with these descriptors. Raises KeyError for a map that is not there."""
        code = bytearray(self.instructions)
        for at, name in self.maps:
            code[at + 4 : at + 8] = descriptors[name].to_bytes(4, "little")
        return bytes(code)


@dataclass(frozen=True, slots=True)
class Compiled:
    """One compiled module. ``types``: its BTF. ``layouts``: of keys and values, by map; see
    ``layout``. ``programs``: by function."""

    types: bytes
    maps: dict[str, MapShape]
    layouts: dict[str, Any]
    programs: dict[str, Code]

    def to_json(self) -> str:
        """For ``from_json``."""
        return json.dumps(
            {
                "types": _text(self.types),
                "maps": {name: asdict(shape) for name, shape in self.maps.items()},
                "layouts": self.layouts,
                "programs": {
                    name: {"instructions": _text(code.instructions), "maps": code.maps}
                    for name, code in self.programs.items()
                },
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError where ``text`` is not what ``to_json`` wrote."""
        try:
            found = json.loads(text)
            return cls(
                _bytes(found["types"]),
                {name: MapShape(**shape) for name, shape in found["maps"].items()},
                found["layouts"],
                {
                    name: Code(
                        _bytes(code["instructions"]), tuple((at, of) for at, of in code["maps"])
                    )
                    for name, code in found["programs"].items()
                },
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a compiled module: {error!r}") from None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
