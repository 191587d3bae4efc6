"""Listeners that were there before the programs: who of the workloads known by cgroup has them.

Sockets that start to listen later are recorded by the sock_ops program as they do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from l7proxy.datapath import connections
from l7proxy.proxy.ports import Endpoint


def listeners_of(cgroup: Path) -> set[Endpoint]:
    """Every TCP listener that a process of the cgroup, or below, holds."""
    inodes: set[int] = set()
    for procs in cgroup.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            for pid in procs.read_text().split():
                inodes |= set(socket_inodes(int(pid)))
    return {
        each.local
        for each in connections.sockets()
        if each.state == connections.LISTEN and each.inode in inodes
    }


def socket_inodes(pid: int) -> Iterator[int]:
    """The sockets that a process has open; none if it is gone."""
    with contextlib.suppress(OSError):
        for descriptor in (Path("/proc") / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    yield int(target[8:-1])
