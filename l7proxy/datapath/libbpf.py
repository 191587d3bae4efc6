"""The few calls of libbpf that a running agent needs; no compiler, no BCC.

Every function raises OSError with the kernel's errno. File descriptors are the caller's.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

BPF_ANY = 0
BPF_NOEXIST = 1


@cache
def library() -> ctypes.CDLL:
    """libbpf itself."""
    lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    lib.libbpf_set_print(None)
    for name in (
        "bpf_obj_get", "bpf_obj_pin", "bpf_map_lookup_elem", "bpf_map_update_elem",
        "bpf_map_delete_elem", "bpf_map_get_next_key", "bpf_link_create", "bpf_link_update",
        "bpf_link_detach", "bpf_map_lookup_and_delete_elem",
    ):  # fmt: skip
        getattr(lib, name).restype = ctypes.c_int
    lib.bpf_map_update_elem.argtypes = [
        ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint64,
    ]  # fmt: skip
    lib.bpf_map_lookup_elem.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p]
    lib.bpf_map_lookup_and_delete_elem.argtypes = [
        ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p,
    ]  # fmt: skip
    lib.bpf_map_delete_elem.argtypes = [ctypes.c_int, ctypes.c_char_p]
    lib.bpf_map_get_next_key.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p]
    lib.bpf_link_create.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p]
    lib.bpf_link_update.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p]
    lib.btf__load_vmlinux_btf.restype = ctypes.c_void_p
    lib.btf__find_by_name_kind.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32]
    lib.btf__type_by_id.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    lib.btf__type_by_id.restype = ctypes.c_void_p
    lib.btf__name_by_offset.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    lib.btf__name_by_offset.restype = ctypes.c_char_p
    lib.btf__free.argtypes = [ctypes.c_void_p]
    return lib


def check(result: int, what: str) -> int:
    """What a call of libbpf returned. Raises OSError where that is an error."""
    if result >= 0:
        return int(result)
    error = -result if result < -1 else ctypes.get_errno()
    raise OSError(error, f"{what}: {os.strerror(error)}")


def map_create(kind: int, name: str, key_size: int, value_size: int, entries: int) -> int:
    """A new map, which lives as long as its descriptor; ``kind`` is enum bpf_map_type."""
    return check(
        library().bpf_map_create(kind, name.encode(), key_size, value_size, entries, None),
        "cannot make a map",
    )


def obj_get(path: Path) -> int:
    """A descriptor for the pinned map, program or link at ``path``."""
    return check(library().bpf_obj_get(os.fsencode(path)), f"cannot open {path}")


def obj_pin(fd: int, path: Path) -> None:
    """Pins an object, which then outlives this process."""
    check(library().bpf_obj_pin(fd, os.fsencode(path)), f"cannot pin {path}")


def map_update(fd: int, key: bytes | None, value: bytes, flags: int = BPF_ANY) -> None:
    """Sets one entry; a queue, whose entries have no key, gets one more."""
    check(library().bpf_map_update_elem(fd, key, value, flags), "cannot update a map")


def map_lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value at ``key``; ``value_size`` counts all CPUs' values for a per-CPU map."""
    value = ctypes.create_string_buffer(value_size)
    if library().bpf_map_lookup_elem(fd, key, value) < 0:
        return None
    return value.raw


def map_delete(fd: int, key: bytes) -> bool:
    """Removes an entry; False if there was none."""
    return bool(library().bpf_map_delete_elem(fd, key) == 0)


def map_keys(fd: int, key_size: int) -> Iterator[bytes]:
    """All keys. Entries may be deleted while iterating only if the caller lists them first."""
    following = ctypes.create_string_buffer(key_size)
    key: bytes | None = None
    while library().bpf_map_get_next_key(fd, key, following) == 0:
        key = following.raw
        yield key


def queue_pop(fd: int, value_size: int) -> bytes | None:
    """Takes the oldest value out of a queue; None if it is empty."""
    value = ctypes.create_string_buffer(value_size)
    result = library().bpf_map_lookup_and_delete_elem(fd, None, value)
    if result < 0 and errno.ENOENT in (-result, ctypes.get_errno()):
        return None
    check(result, "cannot read a queue")
    return value.raw


def link_create(program: int, target: int, attach_type: int) -> int:
    """Attaches a program to a cgroup, network namespace or socket map for the link's lifetime."""
    return check(
        library().bpf_link_create(program, target, attach_type, None), "cannot attach a program"
    )


def link_update(link: int, program: int) -> None:
    """Puts another program in the place of a link's, in one step."""
    check(library().bpf_link_update(link, program, None), "cannot replace a program")


class _Type(ctypes.Structure):
    """struct btf_type of linux/btf.h."""

    _fields_ = (
        ("name_off", ctypes.c_uint32),
        ("info", ctypes.c_uint32),
        ("size_or_type", ctypes.c_uint32),
    )


class _Member(ctypes.Structure):
    """struct btf_member of linux/btf.h."""

    _fields_ = (
        ("name_off", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("offset", ctypes.c_uint32),
    )


class KernelTypes:
    """Structure layouts of the running kernel, from /sys/kernel/btf/vmlinux."""

    _KIND_STRUCT = 4
    _COMPOSITE = (4, 5)  # struct, union

    def __init__(self) -> None:
        self._btf = library().btf__load_vmlinux_btf()
        if not self._btf:
            raise OSError(ctypes.get_errno(), "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)")

    def offset(self, struct: str, path: str) -> int:
        """The offset in bytes of a member, which ``path`` names as ``a.b``; KeyError if absent."""
        type_id = library().btf__find_by_name_kind(self._btf, struct.encode(), self._KIND_STRUCT)
        if type_id < 0:
            raise KeyError(f"the kernel has no struct {struct}")
        offset = 0
        for name in path.split("."):
            found = self._member(type_id, name)
            if found is None:
                raise KeyError(f"the kernel's struct {struct} has no member {path}")
            offset += found[0]
            type_id = found[1]
        return offset

    def _member(self, type_id: int, name: str) -> tuple[int, int] | None:
        """(offset, type) of a member, looking into unnamed structures and unions too."""
        type_id = self._skip_modifiers(type_id)
        address = library().btf__type_by_id(self._btf, type_id)
        info = _Type.from_address(address).info
        members = (_Member * (info & 0xFFFF)).from_address(address + ctypes.sizeof(_Type))
        for member in members:
            bits = member.offset & 0xFFFFFF if info >> 31 else member.offset
            member_name = library().btf__name_by_offset(self._btf, member.name_off).decode()
            if member_name == name:
                return bits // 8, member.type
            if not member_name and self._kind(member.type) in self._COMPOSITE:
                inner = self._member(member.type, name)
                if inner is not None:
                    return bits // 8 + inner[0], inner[1]
        return None

    def _kind(self, type_id: int) -> int:
        address = library().btf__type_by_id(self._btf, self._skip_modifiers(type_id))
        return int(_Type.from_address(address).info >> 24) & 0x1F

    def _skip_modifiers(self, type_id: int) -> int:
        while True:
            kind_type = _Type.from_address(library().btf__type_by_id(self._btf, type_id))
            if (kind_type.info >> 24) & 0x1F not in (8, 9, 10, 11, 18):  # typedef, cv, tags
                return type_id
            type_id = int(kind_type.size_or_type)

    def close(self) -> None:
        """Frees the copy of the kernel's BTF (some 10 MB)."""
        library().btf__free(self._btf)
        self._btf = None
