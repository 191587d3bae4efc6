"""The live policy set: replaced whole or not at all, the last good one kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from l7proxy.file_errors import FileError
from l7proxy.limits import Limits
from l7proxy.policy.documents import PolicyErrors, load_paths
from l7proxy.policy.model import PolicySet


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt to replace the set came to.

    ``applied``: the documents are valid. ``changed``: they mean something else than before, so
    that ``revision`` has gone up by one. ``errors`` is empty when applied.
    """

    applied: bool
    changed: bool
    revision: int
    errors: tuple[FileError, ...] = ()


class LiveSet:
    """The policies in force. It reads when told to; watching files is its owner's work.

    ``current`` is None and ``revision`` 0 until a first good set has been read: what decides by
    this set refuses until then. ``errors`` are those of the last attempt, empty after a good one.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self.current: PolicySet | None = None
        self.revision = 0
        self.errors: tuple[FileError, ...] = ()

    @property
    def last_error(self) -> str | None:
        """The first error of the last attempt in one line, and how many more there are."""
        if not self.errors:
            return None
        more = len(self.errors) - 1
        return f"{self.errors[0]} (and {more} more)" if more else str(self.errors[0])

    def replace(self, paths: Iterable[str | Path]) -> Outcome:
        """Read ``paths`` and put their policies in force, all of them or none."""
        try:
            loaded = load_paths(paths, self._limits)
        except PolicyErrors as error:
            self.errors = error.errors
            return Outcome(False, False, self.revision, self.errors)
        self.errors = ()
        changed = self.current is None or self.current.digest != loaded.digest
        # Also where the meaning is the same: the lines that errors and answers name may be new.
        self.current = loaded
        self.revision += changed
        return Outcome(True, changed, self.revision)
