"""Pinned maps as the programs would have them, made without any program."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l7proxy.datapath import libbpf
from l7proxy.datapath.store import Store

HASH, QUEUE = 1, 22
"""enum bpf_map_type of linux/bpf.h."""

Fields = list[list[Any]]
"""[name, offset, bytes of an element, elements] for each field, as the loader tells them."""

NUMBER: Fields = []


def layout(size: int, fields: Fields = NUMBER) -> dict[str, Any]:
    return {"size": size, "fields": fields}


def made(folder: Path, maps: Mapping[str, tuple[int, Any, Any]], entries: int = 4096) -> Store:
    """Pins each map, (kind, layout of keys, layout of values), in ``folder``, which is new."""
    folder.mkdir()
    layouts = {}
    for name, (kind, key, value) in maps.items():
        fd = libbpf.map_create(kind, name, key["size"], value["size"], entries)
        libbpf.obj_pin(fd, folder / name)
        os.close(fd)
        layouts[name] = {"key": key, "value": value}
    return Store(folder, layouts)
