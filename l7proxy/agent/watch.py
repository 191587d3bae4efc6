"""Notices that policies or workloads on disk may have changed.

The kernel's notice (inotify) comes first. It follows an inode, though, so it is blind to a
directory that is renamed away and replaced, to one that does not exist yet, and to what is behind
a symbolic link: a look at names, sizes and times every half second finds the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import watchfiles

from l7proxy.policy.documents import SUFFIXES

_LOOK_SECONDS = 0.5
_QUIET_MS = 50
_BURST_MS = 400


class Look(NamedTuple):
    """What can be told of a file without reading it."""

    name: str
    device: int
    inode: int
    changed_ns: int
    size: int


Fingerprint = tuple[Look, ...]


class Watch:
    """Calls ``changed()`` soon after anything at ``paths`` may have changed; call ``run``."""

    def __init__(self, paths: Sequence[Path], changed: Callable[[], None]) -> None:
        self._paths = paths
        self._changed = changed

    async def run(self) -> None:
        """Watch until cancelled."""
        seen = [fingerprint(path) for path in self._paths]
        notices = asyncio.create_task(self._notices())
        try:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                found = [fingerprint(path) for path in self._paths]
                if found == seen:
                    continue
                replaced = [look[:1] for look in found] != [look[:1] for look in seen]
                seen = found
                self._changed()
                if replaced or notices.done():
                    notices = await self._again(notices)
        finally:
            notices.cancel()
            await asyncio.gather(notices, return_exceptions=True)

    async def _again(self, notices: asyncio.Task[None]) -> asyncio.Task[None]:
        notices.cancel()
        await asyncio.gather(notices, return_exceptions=True)
        return asyncio.create_task(self._notices())

    async def _notices(self) -> None:
        """The kernel's notices, as long as the paths are where they are."""
        there = [path for path in self._paths if path.exists()]
        if not there:
            return
        # A path that goes away in between, or a full inotify table: the looks go on.
        with contextlib.suppress(OSError, RuntimeError):
            async for _ in watchfiles.awatch(
                *there, debounce=_BURST_MS, step=_QUIET_MS, recursive=False, watch_filter=None
            ):
                self._changed()


def fingerprint(path: Path) -> Fingerprint:
    """What is at ``path`` and, for a directory, the documents directly in it; links are followed.

    The first element stands for ``path`` itself; empty if there is nothing.
    """
    return tuple(_looks(path))


def _looks(path: Path) -> Iterator[Look]:
    try:
        own = path.stat()
    except OSError:
        return
    if not stat.S_ISDIR(own.st_mode):
        yield Look("", own.st_dev, own.st_ino, own.st_ctime_ns, own.st_size)
        return
    # A directory's own times change with its entries, which are looked at one by one.
    yield Look("", own.st_dev, own.st_ino, 0, 0)
    try:
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(SUFFIXES))
    except OSError:
        return
    for name in names:
        try:
            found = (path / name).stat()
        except OSError:
            yield Look(name, 0, 0, 0, 0)
        else:
            yield Look(name, found.st_dev, found.st_ino, found.st_ctime_ns, found.st_size)
