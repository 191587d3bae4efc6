"""The result of a run: tables on the terminal, and JSON, written and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from loadtest.found import Found
from loadtest.rounds import Aim, Claim, Series

_STYLES = {"met": "[green]met[/]", "MISSED": "[bold red]MISSED[/]", "": ""}


class ResultError(Exception):
    """A file that holds no result; the text says which and why."""


class _Promise(BaseModel):
    """A claim, as far as it is read again."""

    name: str
    unit: str
    rounds: tuple[float, ...] = Field(min_length=1)
    scatter: tuple[float, ...]
    bound: float | None
    at_least: bool

    def claim(self) -> Claim:
        series = Series(self.name, self.unit, self.rounds, self.scatter)
        return Claim(series, None if self.bound is None else Aim(self.bound, self.at_least))


class _Document(BaseModel):
    promised: list[_Promise]


def show(console: Console, found: Found) -> None:
    """Two tables: what was measured, and what was promised."""
    measured = Table("measured", "unit", box=SIMPLE_HEAD)
    for column in ("median", "lowest", "highest"):
        measured.add_column(column, justify="right")
    for each in found.series:
        low, high = each.spread
        measured.add_row(
            each.name, each.unit, *(number(value) for value in (each.median, low, high))
        )
    console.print(measured)
    promised = Table("promised", box=SIMPLE_HEAD)
    for column in ("aim", "median", "lowest", "highest", ""):
        promised.add_column(column, justify="right")
    for claim in found.claims:
        low, high = claim.series.spread
        promised.add_row(
            f"{claim.series.name} ({claim.series.unit})",
            str(claim.aim or ""),
            *(number(value) for value in (claim.series.median, low, high)),
            _STYLES[verdict(claim)],
        )
    console.print(promised)


def as_json(found: Found, about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that was measured, each round; ``about`` tells on what."""
    return {
        **about,
        "measured": [_series(each) for each in found.series],
        "promised": [
            {
                **_series(claim.series),
                "bound": claim.aim and claim.aim.bound,
                "at_least": claim.more_is_better,
                "met": claim.aim and claim.met,
            }
            for claim in found.claims
        ],
    }


def write(path: Path, document: dict[str, Any]) -> None:
    """The document as a file."""
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> list[Claim]:
    """The claims of a document that ``write`` made. Raises ResultError."""
    try:
        found = _Document.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ResultError(f"{path}: {error.strerror}; make bench writes one") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ResultError(f"{path}: not a report of a benchmark: {where}: {first['msg']}") from None
    return [each.claim() for each in found.promised]


def verdict(claim: Claim) -> str:
    """``met``, ``MISSED``, or nothing for what has no aim."""
    if claim.aim is None:
        return ""
    return "met" if claim.met else "MISSED"


def number(value: float) -> str:
    """As it is shown to people."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"


def _series(series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "unit": series.unit,
        "median": series.median,
        "rounds": list(series.values),
        "scatter": list(series.scatter),
    }
