"""What a target is, and what several of them check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from l7proxy.file_errors import FileErrors


@dataclass(frozen=True)
class Target:
    """``run`` raises anything where an input shows a fault. ``seeds`` are made when asked for.

    ``tokens`` are pieces that inputs are likely to be made of. ``most_bytes`` bounds an input, and
    ``seconds`` the time that one may take: more is a finding.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    tokens: tuple[bytes, ...] = ()
    most_bytes: int = 4096
    seconds: int = 10


def check_errors(errors: FileErrors, name: str, text: bytes) -> None:
    """Every fault names the file and a line of it, and is told in one line."""
    lines = len(text.decode(errors="replace").splitlines()) or 1
    assert errors.errors
    for error in errors.errors:
        assert error.file == name
        assert 0 < error.line <= lines, error
        check_line(str(error))
        assert error.message, error


def check_line(text: str) -> None:
    """What is meant to be one line is one, and moves no terminal's cursor."""
    assert text.isprintable(), ascii(text)
