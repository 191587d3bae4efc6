"""The calls of libbpf that compiling and loading need beside those of a running agent.

Every function raises OSError with the kernel's errno. File descriptors are the caller's.
"""

from __future__ import annotations

import ctypes
import os

from l7proxy.datapath.compiled import MapShape
from l7proxy.datapath.libbpf import check, library, map_create

_ARRAY, _ARRAY_OF_MAPS, _RINGBUF = 2, 12, 27  # enum bpf_map_type
_LOG_BYTES = 1 << 20


class _MapInfo(ctypes.Structure):
    """struct bpf_map_info of linux/bpf.h."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
        ("ifindex", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("netns", ctypes.c_uint64 * 2),
        ("btf_id", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
    )


class _MapOptions(ctypes.Structure):
    """struct bpf_map_create_opts of libbpf's bpf.h."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),
        ("numa_node", ctypes.c_uint32),
        ("map_ifindex", ctypes.c_uint32),
    )


class _ProgramOptions(ctypes.Structure):
    """struct bpf_prog_load_opts of libbpf's bpf.h."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_int),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_prog_fd", ctypes.c_uint32),
        ("attach_btf_obj_fd", ctypes.c_uint32),
        ("fd_array", ctypes.c_void_p),
        ("func_info", ctypes.c_void_p),
        ("func_info_cnt", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_void_p),
        ("line_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_void_p),
    )


def map_shape(fd: int) -> MapShape:
    """What the map was made as."""
    info = _map_info(fd)
    return MapShape(
        info.type,
        info.key_size,
        info.value_size,
        info.max_entries,
        info.map_flags,
        info.btf_key_type_id,
        info.btf_value_type_id,
    )


def map_types(fd: int) -> bytes:
    """The BTF that the map was made with; empty without."""
    number = _map_info(fd).btf_id
    if not number:
        return b""
    lib = library()
    lib.btf__load_from_kernel_by_id.restype = ctypes.c_void_p
    lib.btf__raw_data.restype = ctypes.c_void_p
    lib.btf__raw_data.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint32)]
    found = lib.btf__load_from_kernel_by_id(number)
    if not found:
        raise OSError(ctypes.get_errno(), "cannot read a map's BTF")
    try:
        size = ctypes.c_uint32()
        return ctypes.string_at(lib.btf__raw_data(found, ctypes.byref(size)), size.value)
    finally:
        lib.btf__free(found)


def _map_info(fd: int) -> _MapInfo:
    info = _MapInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    asked = library().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
    check(asked, "cannot describe a map")
    return info


def types_load(types: bytes) -> int:
    """A descriptor for BTF."""
    return check(library().bpf_btf_load(types, len(types), None), "cannot load the maps' types")


def map_make(name: str, shape: MapShape, types: int) -> int:
    """A new map; ``types`` is the descriptor that ``types_load`` gave."""
    options = _MapOptions(
        sz=ctypes.sizeof(_MapOptions),
        btf_fd=types if shape.value_type else 0,
        btf_key_type_id=shape.key_type,
        btf_value_type_id=shape.value_type,
        map_flags=shape.flags,
    )
    made = library().bpf_map_create(
        shape.kind,
        name.encode(),
        shape.key_size,
        shape.value_size,
        shape.entries,
        ctypes.byref(options),
    )
    return check(made, f"cannot make the map {name}")


def map_of_maps_make(name: str, entries: int, value_bytes: int) -> int:
    """A new array of maps, each of which is an array of one value of ``value_bytes``."""
    model = map_create(_ARRAY, f"{name[:10]}_like", 4, value_bytes, 1)
    try:
        options = _MapOptions(sz=ctypes.sizeof(_MapOptions), inner_map_fd=model)
        return check(
            library().bpf_map_create(
                _ARRAY_OF_MAPS, name.encode(), 4, 4, entries, ctypes.byref(options)
            ),
            "cannot make a map of maps",
        )
    finally:
        os.close(model)


def ring_make(name: str, size: int) -> int:
    """A new ring buffer of ``size`` bytes."""
    return map_create(_RINGBUF, name, 0, 0, size)


class Rejected(Exception):
    """The kernel does not take a program; the text has its error and the verifier's last words."""


def program_load(kind: int, attach_type: int, name: str, code: bytes) -> int:
    """A loaded program of enum bpf_prog_type ``kind``. Raises Rejected."""
    log = None
    for level in (0, 1):  # the log costs time: ask for it only after a failure
        log = ctypes.create_string_buffer(_LOG_BYTES) if level else None
        options = _ProgramOptions(
            sz=ctypes.sizeof(_ProgramOptions),
            expected_attach_type=attach_type,
            log_level=level,
            log_size=_LOG_BYTES if level else 0,
            log_buf=ctypes.cast(log, ctypes.c_void_p) if log else None,
        )
        fd = int(
            library().bpf_prog_load(
                kind, name.encode(), b"GPL", code, len(code) // 8, ctypes.byref(options)
            )
        )
        if fd >= 0:
            return fd
    assert log is not None
    words = log.value.decode(errors="replace").strip().splitlines()[-4:]
    raise Rejected(f"cannot load {name}: {os.strerror(-fd)}: {' | '.join(words)}")
