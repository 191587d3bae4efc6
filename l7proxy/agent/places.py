"""Where workloads live: namespaces and cgroups, which come and go without any file telling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from l7proxy.config import find_cgroup2
from l7proxy.workloads.model import Workload

NETNS_FOLDER = Path("/run/netns")

Places = tuple[tuple[str, int], ...]


def places(workloads: Iterable[Workload], netns_folder: Path = NETNS_FOLDER) -> Places:
    """Every named network namespace and every workload's cgroup that is there, by inode.

    One that is removed and made again under its old name has another inode.
    """
    return tuple(_namespaces(netns_folder)) + tuple(_cgroups(workloads))


def _namespaces(folder: Path) -> Iterator[tuple[str, int]]:
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return
    for path in found:
        yield from _inode(path)


def _cgroups(workloads: Iterable[Workload]) -> Iterator[tuple[str, int]]:
    mount = find_cgroup2()
    if mount is None:
        return
    for workload in workloads:
        if workload.cgroup is not None:
            yield from _inode(mount / workload.cgroup.lstrip("/"))


def _inode(path: Path) -> Iterator[tuple[str, int]]:
    try:
        yield str(path), path.stat().st_ino
    except OSError:
        # Gone, or on its way: that it is not in the answer says so.
        return
