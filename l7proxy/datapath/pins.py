"""The pins of one build, held by the agent: what is removed from bpffs while it runs is put back.

A pin is all that keeps a link attached once nobody has it open, and a program that is no longer
attached lets everything through. So the agent has each of them open, and looks after the names.
"""

from __future__ import annotations

import os
from pathlib import Path

from l7proxy.datapath import libbpf


class Pins:
    """Maps, programs and links under their names in ``folder``.

    Holds none until ``hold`` is called; a process that only reads tables never does.
    """

    def __init__(self, folder: Path) -> None:
        self.restored = 0
        """How many were put back so far."""
        self._folder = folder
        self._held: dict[str, int] = {}

    def hold(self) -> None:
        """Keep alive what is pinned now, whatever happens to the names. Raises OSError."""
        for path in self._folder.iterdir():
            if path.name not in self._held:
                self._held[path.name] = libbpf.obj_get(path)

    def has(self, name: str) -> bool:
        """Whether there is such an object: pinned, or only held any more."""
        return name in self._held or (self._folder / name).exists()

    def add(self, name: str, descriptor: int) -> None:
        """Pin an object and hold it; the descriptor is taken over. Raises OSError."""
        try:
            libbpf.obj_pin(descriptor, self._folder / name)
        except OSError:
            os.close(descriptor)
            raise
        self._held[name] = descriptor

    def remove(self, name: str) -> None:
        """Unpin an object and let go of it: a link is detached then. None is no mistake."""
        descriptor = self._held.pop(name, None)
        (self._folder / name).unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)

    def restore(self) -> int:
        """Pin again what is held and has lost its name; how many did. Raises OSError."""
        try:
            there = {path.name for path in self._folder.iterdir()}
        except FileNotFoundError:
            self._folder.mkdir(parents=True)
            there = set()
        lost = self._held.keys() - there
        for name in lost:
            libbpf.obj_pin(self._held[name], self._folder / name)
            self.restored += 1
        return len(lost)

    def let_go(self) -> None:
        """Hold nothing any more; what is pinned lives on."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()
