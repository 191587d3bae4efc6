"""What the agent says on standard error: one line for each thing that happened."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from l7proxy.observe.writer import LineWriter

_STDERR = 2
_REMEMBERED = 32


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the past; ``at`` is seconds since the epoch."""

    at: float
    message: str


class Report:
    """Writes messages, and remembers the last errors for ``l7proxy status``.

    A reader of standard error that stalls does not stop the agent.
    """

    def __init__(self) -> None:
        self.errors = 0
        """How many were said so far."""
        self._errors: deque[Said] = deque(maxlen=_REMEMBERED)
        self._writer = LineWriter(_STDERR)

    @property
    def last_error(self) -> Said | None:
        return self._errors[-1] if self._errors else None

    def info(self, message: str) -> None:
        self._write(message)

    def error(self, message: str) -> None:
        """``message`` may have several lines, one for each fault."""
        for line in message.splitlines():
            self.errors += 1
            self._errors.append(Said(time.time(), line))
            self._write(f"error: {line}")

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()

    def _write(self, message: str) -> None:
        self._writer.write(f"l7proxy: {message}\n".encode("utf-8", "backslashreplace"))
        self._writer.flush_soon()
