"""One target under atheris, in a process of its own, which it ends: see ``tests.fuzz.hunt``.

``python -m tests.fuzz.engine TARGET FOLDER [options of libFuzzer]``
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["l7proxy"]):
    from tests.fuzz.targets import TARGETS

KINDS_MAX = 50
"""A target with more kinds of fault than this has one cause."""


class Hunter:
    """Runs a target; keeps the first input of each kind of fault, and goes on."""

    def __init__(self, name: str, folder: Path) -> None:
        self._run = TARGETS[name].run
        self._folder = folder
        self._kinds: set[tuple[str, str, int]] = set()

    def __call__(self, data: bytes) -> None:
        try:
            self._run(data)
        except Exception as error:
            kind = kind_of(error)
            if kind in self._kinds:
                return
            self._kinds.add(kind)
            if len(self._kinds) > KINDS_MAX:
                raise
            name = f"fault-{hashlib.sha256(data).hexdigest()[:16]}"
            (self._folder / name).write_bytes(data)
            (self._folder / f"{name}.txt").write_text(
                "".join(traceback.format_exception(error)), errors="backslashreplace"
            )


def kind_of(error: Exception) -> tuple[str, str, int]:
    """Faults of one kind have the same type and place."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return type(error).__name__, last.filename, last.lineno or 0


if __name__ == "__main__":
    target, folder, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], Hunter(target, Path(folder)))
    atheris.Fuzz()
