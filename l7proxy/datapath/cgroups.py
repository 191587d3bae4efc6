"""The covered cgroup: the programs attached to it, and which workload a socket below it is of.

A cgroup's id, which the kernel gives for sockets and programs see, is its folder's inode.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from l7proxy.datapath.connections import OpenSocket, socket_inodes
from l7proxy.datapath.names import CGROUP_DEPTH
from l7proxy.datapath.port import DatapathError
from l7proxy.datapath.store import Store, cgroup_programs
from l7proxy.workloads.model import Workload

_ROOT = 1
"""The id of the one cgroup that all others are below; in a cgroup namespace it is not to be seen,
and the top of what is mounted there is some other."""


class Cgroups:
    """The tree below the covered cgroup, and the workloads that are known by a cgroup of it."""

    def __init__(self, store: Store, covered: Path) -> None:
        self._store = store
        self._covered = covered
        self._covers_all = covered.stat().st_ino == _ROOT
        self._mount = _mount_of(covered)
        self._workloads: dict[Path, int] = {}
        self._held: dict[int, set[int]] = {}
        self._paths: dict[int, Path] = {}
        self._elsewhere: set[int] = set()
        self._asked: set[int] = set()

    def record(self, workloads: Sequence[Workload], number: Callable[[Workload], int]) -> list[str]:
        """Tells the programs which cgroups are workloads, and looks at what their processes hold.

        Returns the ids of workloads whose cgroup is not there. Raises DatapathError for a cgroup
        deeper than the programs look.
        """
        table = self._store.table("cgroups")
        unplaced: list[str] = []
        known: set[int] = set()
        self._workloads = {}
        for workload in workloads:
            if workload.cgroup is None:
                continue
            below = workload.cgroup.strip("/")
            if len(Path(below).parts) > CGROUP_DEPTH:
                raise DatapathError(
                    f"workload {workload.id}: cgroup /{below} is more than {CGROUP_DEPTH} levels "
                    "deep: name one above it"
                )
            folder = self._mount / below
            try:
                inode = folder.stat().st_ino
            except OSError:
                unplaced.append(workload.id)
                continue
            known.add(inode)
            self._workloads[folder] = number(workload)
            table.set(inode, {"id": number(workload)})
        for key in list(table.keys()):
            inode = int.from_bytes(key, sys.byteorder)
            if inode not in known:
                table.delete(inode)
        self._held = self._holders()
        self._paths = {each: path for each, path in self._paths.items() if each in self._asked}
        self._asked.clear()
        self._elsewhere.clear()
        return unplaced

    def attach(self) -> bool:
        """Attaches the programs to the covered cgroup, and detaches them from any other.

        Whether some were not attached before.
        """
        fresh = False
        inode = self._covered.stat().st_ino
        folder = os.open(self._covered, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for function, attach_type in cgroup_programs():
                name = f"cgroup_{inode}_{function}"
                if not self._store.is_attached(name):
                    self._store.attach(name, function, folder, attach_type)
                    fresh = True
        finally:
            os.close(folder)
        for name in self._store.links():
            if name.startswith("cgroup_") and not name.startswith(f"cgroup_{inode}_"):
                self._store.detach(name)
        return fresh

    def covers(self, sock: OpenSocket) -> bool:
        """Whether the programs see what happens to the socket, and to those it accepts.

        False where that is not known: the kernel does not tell, or the cgroup was removed before
        it was ever looked at.
        """
        if self._covers_all:
            return sock.cgroup != 0
        path = self._path(sock.cgroup)
        return path is not None and path.is_relative_to(self._covered)

    def holders(self, sock: OpenSocket) -> set[int]:
        """The workloads whose processes had the socket when ``record`` looked, by number."""
        return self._held.get(sock.inode, set())

    def maker(self, sock: OpenSocket) -> int | None:
        """The workload, by number, in whose cgroup the socket was made; None for any other."""
        return self._nearest(self._path(sock.cgroup)) if self._workloads else None

    def _nearest(self, path: Path | None) -> int | None:
        """Of the workload whose cgroup this is or is below, the deepest one: as programs do."""
        while path is not None and path != self._mount:
            if path in self._workloads:
                return self._workloads[path]
            path = path.parent
        return None

    def _path(self, cgroup: int) -> Path | None:
        """Where a cgroup is, or was, if it is below the covered one or a workload's.

        Cgroups cannot be moved, and ids are not used again: what was found once stays right, and
        is kept for as long as somebody asks for it.
        """
        self._asked.add(cgroup)
        if cgroup and cgroup not in self._paths and cgroup not in self._elsewhere:
            for top in (self._covered, *self._workloads):
                self._paths |= {inode: path for path, inode in _folders(top)}
            if cgroup not in self._paths:
                self._elsewhere.add(cgroup)
        return self._paths.get(cgroup)

    def _holders(self) -> dict[int, set[int]]:
        """By the inode of a socket: the workloads that hold it."""
        held: dict[int, set[int]] = {}
        for top, number in self._workloads.items():
            for folder, _ in _folders(top):
                if self._nearest(folder) != number:
                    continue
                for pid in _pids(folder):
                    for inode in socket_inodes(pid):
                        held.setdefault(inode, set()).add(number)
        return held


def _pids(folder: Path) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _folders(top: Path) -> Iterator[tuple[Path, int]]:
    """A cgroup and all below it, each with its inode; those that go meanwhile are left out."""
    for name, _, _ in os.walk(top):
        with contextlib.suppress(OSError):
            folder = Path(name)
            yield folder, folder.stat().st_ino


def _mount_of(folder: Path) -> Path:
    while not os.path.ismount(folder) and folder != folder.parent:
        folder = folder.parent
    return folder
