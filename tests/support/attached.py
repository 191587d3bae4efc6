"""What eBPF is attached to a cgroup or a network namespace, asked of the kernel itself."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_LAST_ATTACH_TYPE = 60
_SK_LOOKUP = 36
_PROGRAMS = 64


def to_cgroup(cgroup: Path) -> dict[int, int]:
    """Programs attached to the folder itself: count by attach type."""
    return _query(cgroup, range(_LAST_ATTACH_TYPE))


def to_cgroups(cgroup: Path) -> dict[Path, dict[int, int]]:
    """The same for the folder and every one below it that has any."""
    folders = [cgroup, *(path for path in cgroup.rglob("*") if path.is_dir())]
    return {folder: found for folder in folders if (found := to_cgroup(folder))}


def to_namespace(path: Path) -> int:
    """How many sk_lookup programs are attached to a network namespace."""
    return sum(_query(path, [_SK_LOOKUP]).values())


def _query(path: Path, types: range | list[int]) -> dict[int, int]:
    libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    found: dict[int, int] = {}
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for kind in types:
            flags = ctypes.c_uint32()
            programs = (ctypes.c_uint32 * _PROGRAMS)()
            count = ctypes.c_uint32(_PROGRAMS)
            error = libbpf.bpf_prog_query(
                descriptor, kind, 0, ctypes.byref(flags), programs, ctypes.byref(count)
            )
            if error == 0 and count.value:
                found[kind] = count.value
    finally:
        os.close(descriptor)
    return found
