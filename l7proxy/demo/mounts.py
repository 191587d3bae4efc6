"""A private bpffs, so that pins of a node in miniature are not among the machine's."""

from __future__ import annotations

import subprocess
from pathlib import Path


def mount_bpffs(folder: Path) -> None:
    """Mount a bpffs of its own on ``folder``. Raises OSError saying why it cannot be."""
    done = _run("mount", "-t", "bpf", "bpf", str(folder))
    if done.returncode:
        raise OSError(f"{folder}: no bpffs can be mounted: {done.stderr.strip()}")


def unmount(folder: Path) -> None:
    """Unmount ``folder``, also where something in it is still open; nothing if it is no mount."""
    if folder.is_mount() and _run("umount", str(folder)).returncode:
        _run("umount", "--lazy", str(folder))


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, check=False, capture_output=True, text=True)
