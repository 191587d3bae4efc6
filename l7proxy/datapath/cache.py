"""Compiled modules that are kept, so that a node compiles once for each version and kernel.

What lies there goes into the kernel as it is, so only files that nobody else can have written are
read. A cache that cannot be used is a start that takes longer, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from l7proxy.datapath.compiled import Compiled

_NAME = "programs-{build}.json"
_KEPT = 8
"""Builds; agents with other limits have other ones."""


class Cache:
    """The modules in ``folder``, which is made when it is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, build: str) -> Compiled | None:
        """The module of this build; None if it is not there, or not to be trusted."""
        try:
            if not _is_ours(self._folder):
                return None
            path = self._folder / _NAME.format(build=build)
            return Compiled.from_json(path.read_text()) if _is_ours(path) else None
        except (OSError, ValueError):
            return None

    def keep(self, build: str, text: str) -> None:
        """Keeps what ``Compiled.to_json`` wrote, and no more than so many of earlier builds."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_ours(self._folder):
                return
            path = self._folder / _NAME.format(build=build)
            fresh = path.with_suffix(f".{os.getpid()}")
            with open(fresh, "x", opener=_private) as file:
                file.write(text)
            fresh.replace(path)
            kept = sorted(self._folder.glob(_NAME.format(build="*")), key=_age)
            for oldest in kept[:-_KEPT]:
                oldest.unlink(missing_ok=True)
        except OSError:
            return

    def clear(self) -> None:
        """Removes what was kept, and the folder if nothing else is in it. Raises OSError."""
        for path in self._folder.glob(_NAME.format(build="*")):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _is_ours(path: Path) -> bool:
    """Whether nobody but this user can have written there."""
    found = path.lstat()
    return (
        not stat.S_ISLNK(found.st_mode)
        and found.st_uid == os.geteuid()
        and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )
