"""What is wrong with a file or an address that a user named, in the words that users see."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass

from l7proxy.printable import escaped


@dataclass(frozen=True, slots=True, order=True)
class FileError:
    """One fault: ``line`` counts from 1; 0 where the file as a whole is at fault.

    ``message`` may quote the file; the text of the whole is one printable line.
    """

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return escaped(f"{place}: {self.message}")


class FileErrors(Exception):
    """All faults that were found, in order of place; its text has one line for each."""

    def __init__(self, errors: Iterable[FileError]) -> None:
        self.errors = tuple(sorted(errors))
        super().__init__(self.errors)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


def reason(error: OSError) -> str:
    """Why the system refused, to stand behind the name of what it refused: lower case."""
    return (os.strerror(error.errno) if error.errno else str(error)).lower()


def unknown(name: str, known: Iterable[str]) -> str:
    """The message for a name that is none of ``known``, with the nearest one."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown field; did you mean {near[0]}?" if near else "unknown field"
