"""What this kernel offers and lacks, found by trying."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import termios
from dataclasses import dataclass
from pathlib import Path

from l7proxy.datapath import libbpf, source
from l7proxy.datapath.short_circuit import DIFFERENCES, OPT_OUT

BPFFS_MAGIC = 0xCAFE4A11
_MAP_TYPE_SOCKHASH = 18


@dataclass(frozen=True, slots=True)
class Check:
    """One fact. ``ok`` None: neither good nor bad. ``remedy`` is what to do where it is not."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


def fionread_is_blind() -> bool:
    """Whether FIONREAD tells 0 for a byte on a socket that is in a socket map.

    True on 6.18.14 and later, and on the stable kernels that took the same change, until they
    take its repair. Raises OSError where socket maps cannot be had.
    """
    table = libbpf.map_create(_MAP_TYPE_SOCKHASH, "l7_probe", 8, 8, 1)
    try:
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            client = stack.enter_context(socket.create_connection(server.getsockname()))
            accepted = stack.enter_context(server.accept()[0])
            libbpf.map_update(table, bytes(8), struct.pack("=Q", accepted.fileno()))
            client.sendall(b"x")
            accepted.recv(1, socket.MSG_PEEK)
            answer = fcntl.ioctl(accepted, termios.FIONREAD, bytes(4))
            return bool(struct.unpack("=i", answer)[0] == 0)
    finally:
        os.close(table)


def is_bpffs(path: Path) -> bool:
    """Whether ``path``, or the nearest folder above it that exists, is on a bpffs."""
    while not path.exists() and path != path.parent:
        path = path.parent
    buffer = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(path), buffer) < 0:
        return False
    return int.from_bytes(buffer.raw[:4], "little") == BPFFS_MAGIC


def missing(bpffs: Path, cgroup: Path | None) -> str | None:
    """Why the eBPF datapath cannot work here, in one line with the remedy; None if it can."""
    for check in probe(bpffs, cgroup):
        if check.ok is False:
            return f"{check.name}: {check.detail}; {check.remedy}"
    return None


def probe(bpffs: Path, cgroup: Path | None) -> list[Check]:
    """Every fact that the datapath rests on, cheapest first; stops where the rest would fail."""
    checks = [_root()]
    if not checks[0].ok:
        return checks
    checks += [_library(), _compiler(), _cgroup(cgroup), _bpffs(bpffs), _types(), _sockets()]
    return checks + _differences()


def _differences() -> list[Check]:
    """What applications may notice, and how a workload that does is left alone."""
    found = [Check("short-circuit", None, f"{each.name}: {each.text}") for each in DIFFERENCES]
    remedy = f"a workload that depends on one of these needs the annotation {OPT_OUT}"
    return [*found, Check("short-circuit", None, remedy)]


def _root() -> Check:
    if os.geteuid() == 0:
        return Check("privileges", True, "running as root")
    return Check("privileges", False, "not root", "run as root, or with datapath: userspace")


def _library() -> Check:
    try:
        ctypes.CDLL("libbpf.so.1")
    except OSError as error:
        return Check("libbpf", False, str(error), "apt-get install libbpf1")
    return Check("libbpf", True, "libbpf.so.1")


def _compiler() -> Check:
    places = [Path("/usr/lib/python3/dist-packages/bcc"), Path("/usr/include/linux/in.h")]
    packages = ["python3-bpfcc", "linux-libc-dev"]
    for place, package in zip(places, packages, strict=True):
        if not place.exists():
            return Check("BCC", False, f"{place} is missing", f"apt-get install {package}")
    return Check("BCC", True, "python3-bpfcc and the C library's kernel headers")


def _cgroup(cgroup: Path | None) -> Check:
    if cgroup is None:
        return Check(
            "cgroup v2", False, "not mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
        )
    if not (cgroup / "cgroup.procs").exists():
        return Check(
            "cgroup v2", False, f"{cgroup} is not a cgroup v2 folder", "set cgroup: in l7proxy.yaml"
        )
    return Check("cgroup v2", True, f"covers {cgroup}")


def _bpffs(path: Path) -> Check:
    if is_bpffs(path):
        return Check("bpffs", True, str(path))
    return Check(
        "bpffs", False, f"{path} is on no BPF file system", f"mount -t bpf bpf {path.parent}"
    )


def _types() -> Check:
    try:
        source.kernel_offsets()
    except (OSError, KeyError) as error:
        return Check("kernel types", False, str(error), "use a kernel with CONFIG_DEBUG_INFO_BTF=y")
    return Check("kernel types", True, "/sys/kernel/btf/vmlinux")


def _sockets() -> Check:
    try:
        blind = fionread_is_blind()
    except PermissionError:
        return Check(
            "eBPF",
            False,
            "root here may not use it, as in a container",
            "give it CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or set datapath: userspace",
        )
    except OSError as error:
        remedy = "use a kernel with CONFIG_BPF_STREAM_PARSER=y"
        return Check("socket maps", False, str(error), remedy)
    if blind:
        return Check(
            "socket maps",
            None,
            "FIONREAD is blind to TCP bytes on this kernel: short-circuited sockets get a receive "
            "program, which repairs it",
        )
    return Check(
        "socket maps",
        True,
        "short-circuit without a receive program",
    )
