"""Cgroup v2 folders of our own: found, made, emptied and removed without touching anyone else's."""

from __future__ import annotations

import fcntl
import os
import select
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from l7proxy.config import find_cgroup2

EMPTY_TIMEOUT = 10.0
"""Seconds that killed processes get to leave a cgroup."""


class CgroupError(Exception):
    """A cgroup could not be found, made or removed; the text says which and why."""


def mount_point() -> Path:
    """Where the cgroup v2 hierarchy is mounted.

    Raises CgroupError where it is not.
    """
    if found := find_cgroup2():
        return found
    raise CgroupError("no cgroup2 file system in /proc/mounts: mount one, or boot with cgroup v2")


def path_below_mount(cgroup: Path) -> str:
    """``cgroup`` as annotations and /proc/PID/cgroup spell it: "/" is the mount point."""
    return "/" + str(cgroup.relative_to(mount_point()))


def kill(cgroup: Path) -> None:
    """Kill every process in ``cgroup`` and below, and wait until they are gone.

    Raises CgroupError where that takes longer than EMPTY_TIMEOUT.
    """
    if not cgroup.is_dir():
        return
    (cgroup / "cgroup.kill").write_text("1")
    with (cgroup / "cgroup.events").open() as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI | select.POLLERR)
        end = time.monotonic() + EMPTY_TIMEOUT
        while "populated 1" in events.read():
            if time.monotonic() > end:
                raise CgroupError(f"{cgroup}: processes are still alive after {EMPTY_TIMEOUT:g} s")
            poll.poll(200)
            events.seek(0)


def remove(cgroup: Path) -> None:
    """Remove ``cgroup`` and the folders below it; no process may be left in any of them."""
    if not cgroup.is_dir():
        return
    for folder in _depth_first(cgroup):
        folder.rmdir()


def _depth_first(folder: Path) -> Iterator[Path]:
    for child in sorted(folder.iterdir()):
        if child.is_dir():
            yield from _depth_first(child)
    yield folder


def claim(cgroup: Path) -> int:
    """Make ``cgroup`` and lock it for the life of the returned descriptor.

    The lock tells a folder in use from one whose owner was killed, across PID namespaces.
    """
    while True:
        cgroup.mkdir()
        try:
            descriptor = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # A sweeper may have met the folder before it was locked, and removed it.
        if cgroup.is_dir() and os.path.samestat(cgroup.stat(), os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)


def abandoned(prefix: str) -> Iterator[Path]:
    """Folders directly below the mount point named ``prefix...`` that nobody holds a claim on.

    Each is locked while the caller works on it, so that two sweepers do not meet.
    """
    for folder in sorted(mount_point().glob(prefix + "*")):
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield folder
            finally:
                os.close(descriptor)
