"""Text that is safe wherever it is shown."""

from __future__ import annotations


def escaped(text: str) -> str:
    """``text`` in one line: control characters, line ends and marks that turn the writing are
    escaped, and whatever else is no printable character."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
