"""How a command fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from l7proxy.file_errors import FileErrors


class CommandError(Exception):
    """A failure for the user's eyes: a line for each fault, saying what, where, what to do."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def told() -> Iterator[None]:
    """Faults in files that are read inside become a CommandError."""
    try:
        yield
    except FileErrors as error:
        raise CommandError(str(error)) from None


def one_line(text: str) -> str:
    return " ".join(text.split())
