"""The page's own files, read once: what is not among them cannot be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).resolve().parent / "static"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    content_type: str


def load(folder: Path = STATIC) -> Mapping[str, File]:
    """The files below ``folder`` by the path that they are asked for by; ``/`` is the page.

    Files of other types, such as licences, are not served. Raises OSError.
    """
    found = {
        f"/{path.relative_to(folder).as_posix()}": File(path.read_bytes(), _TYPES[path.suffix])
        for path in folder.rglob("*")
        if path.suffix in _TYPES
    }
    found["/"] = found.pop("/index.html")
    return found
