"""The result of a run: a table for people and JSON for scripts."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from loadtest.rounds import Claim, Series


def show(console: Console, series: Sequence[Series], claims: Sequence[Claim]) -> None:
    """Two tables: what was measured, and what was promised."""
    measured = Table("measured", "unit", box=SIMPLE_HEAD)
    for column in ("median", "lowest", "highest"):
        measured.add_column(column, justify="right")
    for each in series:
        low, high = each.spread
        measured.add_row(
            each.name, each.unit, *(_number(value) for value in (each.median, low, high))
        )
    console.print(measured)
    promised = Table("promised", box=SIMPLE_HEAD)
    for column in ("aim", "median", "lowest", "highest", ""):
        promised.add_column(column, justify="right")
    for claim in claims:
        low, high = claim.series.spread
        promised.add_row(
            f"{claim.series.name} ({claim.series.unit})",
            str(claim.aim),
            *(_number(value) for value in (claim.series.median, low, high)),
            "[green]met[/]" if claim.met else "[bold red]MISSED[/]",
        )
    console.print(promised)


def as_json(
    series: Sequence[Series], claims: Sequence[Claim], settings: dict[str, Any]
) -> dict[str, Any]:
    """Everything that was measured, each round, and on what."""
    return {
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release()},
        "settings": settings,
        "measured": [_series(each) for each in series],
        "promised": [
            {
                **_series(claim.series),
                "bound": claim.aim.bound,
                "at_least": claim.aim.at_least,
                "met": claim.met,
            }
            for claim in claims
        ],
    }


def write(path: Path, document: dict[str, Any]) -> None:
    """The document as a file."""
    path.write_text(json.dumps(document, indent=1) + "\n")


def _series(series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "unit": series.unit,
        "median": series.median,
        "rounds": list(series.values),
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"
