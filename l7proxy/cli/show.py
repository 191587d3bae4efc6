"""Printing for people and for scripts: tables, sections, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from l7proxy.printable import escaped

_NOTHING = "-"


def as_json(document: Any) -> None:
    """One JSON document, in ASCII: valid in every locale, and with every name."""
    click.echo(json.dumps(document, indent=2))


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Aligned columns, which scripts can cut; the longest is best the last."""
    lines = [[heading.upper() for heading in headings]]
    lines += [[plain(value) for value in row] for row in rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(headings))]
    for line in lines:
        padded = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(padded.rstrip())


def records(found: Sequence[Mapping[str, Any]]) -> None:
    """A table of records, with a column for each key that any of them has."""
    keys = list(dict.fromkeys(key for record in found for key in record))
    headings = [key.replace("_", " ") for key in keys]
    table(headings, [[record.get(key) for key in keys] for record in found])


def sections(document: Mapping[str, Any], indent: int = 0) -> None:
    """Keys and values, one a line; a map inside becomes a section of its own."""
    flat = {key: value for key, value in document.items() if not isinstance(value, Mapping)}
    width = max((len(key) for key in flat), default=0)
    margin = " " * indent
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            click.echo(f"{margin}{key.replace('_', ' ')}:")
            sections(value, indent + 2)
        else:
            click.echo(f"{margin}{key.replace('_', ' '):{width}}  {plain(value)}")


def plain(value: Any) -> str:
    """A value in one line, without control characters; ``-`` for nothing."""
    if value is None or value in ("", [], {}):
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return escaped(str(value))
