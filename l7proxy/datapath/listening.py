"""Listeners that were there before the programs: who of the workloads known by cgroup has them.

Sockets that start to listen later are recorded by the sock_ops program as they do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from l7proxy.workloads.model import Address

_LISTEN = "0A"  # TCP_LISTEN in the tables of /proc/net


def listeners_of(cgroup: Path) -> set[tuple[Address, int]]:
    """(address, port) of every TCP listener that a process of the cgroup, or below, holds."""
    inodes: set[str] = set()
    for procs in cgroup.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            for pid in procs.read_text().split():
                inodes |= set(_socket_inodes(Path("/proc") / pid))
    return {(address, port) for address, port, inode in _listening() if inode in inodes}


def _socket_inodes(process: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    yield target[8:-1]


def _listening() -> Iterator[tuple[Address, int, str]]:
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            lines = Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]
            for line in lines:
                fields = line.split()
                if fields[3] == _LISTEN:
                    where, _, port = fields[1].partition(":")
                    yield _address(where), int(port, 16), fields[9]


def _address(text: str) -> Address:
    """The kernel prints each 32-bit word in host byte order."""
    words = [text[at : at + 8] for at in range(0, len(text), 8)]
    raw = b"".join(int(word, 16).to_bytes(4, "little") for word in words)
    return IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)
