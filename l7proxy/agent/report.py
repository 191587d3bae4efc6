"""What the agent says on standard error: one line for each thing that happened."""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass

_REMEMBERED = 32


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the past; ``at`` is seconds since the epoch."""

    at: float
    message: str


class Report:
    """Writes messages, and remembers the last errors for ``l7proxy status``."""

    def __init__(self) -> None:
        self._errors: deque[Said] = deque(maxlen=_REMEMBERED)

    @property
    def last_error(self) -> Said | None:
        return self._errors[-1] if self._errors else None

    def info(self, message: str) -> None:
        _write(message)

    def error(self, message: str) -> None:
        """``message`` may have several lines, one for each fault."""
        for line in message.splitlines():
            self._errors.append(Said(time.time(), line))
            _write(f"error: {line}")


def _write(message: str) -> None:
    try:
        sys.stderr.write(f"l7proxy: {message}\n")
        sys.stderr.flush()
    except OSError:
        # Nobody reads it any more; the agent goes on.
        return
