"""The folder of a report: JSON for scripts, tables in Markdown, and plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

from loadtest import peer_results, plot, plot_curves, plot_peers, result
from loadtest.found import Found, Row
from loadtest.peer_cases import SWEEPS
from loadtest.probes import CLIENT, PROXY, SERVER
from loadtest.result import number
from loadtest.rounds import Claim, Series

JSON, MARKDOWN = "report.json", "report.md"


@dataclass(frozen=True, slots=True)
class Chapter:
    """Ratios that are drawn together. ``better`` and ``worse`` than 1 in words."""

    file: str
    title: str
    better: str
    worse: str

    def holds(self, claim: Claim) -> bool:
        return claim.is_ratio and self is _chapter_of(claim)


DIRECT = Chapter(
    "direct.svg",
    "Rate against direct connections: right of 1x is faster than no proxy",
    "as fast or faster",
    "slower",
)
LATENCY = Chapter(
    "latency.svg",
    "p99 latency against direct connections: left of 1x is less than no proxy",
    "as low or lower",
    "higher",
)
OTHERS = Chapter(
    "others.svg",
    "Rate against other proxies, and against other settings of l7proxy",
    "as fast or faster",
    "slower",
)
CHAPTERS = (DIRECT, LATENCY, OTHERS)
PLOTS = (
    *peer_results.FILES.values(),
    *(sweep.file for sweep in SWEEPS.values()),
    *(chapter.file for chapter in CHAPTERS),
)
"""All that there may be."""


def write(folder: Path, found: Found, about: Mapping[str, Any]) -> None:
    """All files; those of an earlier report are replaced. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    result.write(folder / JSON, result.as_json(found, about))
    drawn = _plots(found)
    for name in PLOTS:
        if name in drawn:
            (folder / name).write_text(drawn[name], encoding="utf-8")
        else:
            (folder / name).unlink(missing_ok=True)
    (folder / MARKDOWN).write_text(markdown(found, about), encoding="utf-8")


def markdown(found: Found, about: Mapping[str, Any]) -> str:
    """The report for people."""
    ratios = [each for each in found.claims if each.is_ratio]
    aims = [each for each in found.claims if each.aim]
    parts = [
        "# Report of the benchmarks",
        "Written by the benchmarks: do not edit. What the words mean and how to repeat it is in"
        " [../README.md](../README.md).",
        f"{sum(map(plot.is_win, ratios))} of {len(ratios)} ratios are wins, and"
        f" {sum(each.met for each in aims)} of {len(aims)} aims are met.",
        *(f"**{_cell(warning)}**" for warning in about.get("warnings", ())),
        _table(("", ""), _flat(about), 2),
    ]
    for comparison in found.comparisons:
        parts += _illustrated(comparison.title, comparison.file)
        parts.append(_table(_COMPARED, starmap(_compared, comparison.rows.items())))
    for curves in found.curves:
        parts += _illustrated(curves.title, curves.file)
        heads = ("requests a second", *(f"{level:,}" for level in curves.levels))
        lines = ((name, *_medians(line)) for name, line in curves.lines.items())
        parts.append(_table(heads, lines))
    for chapter in CHAPTERS:
        held = [each for each in found.claims if chapter.holds(each)]
        if held:
            parts += [*_illustrated(chapter.title, chapter.file), _claims(held)]
    others = [each for each in found.claims if not each.is_ratio]
    if others:
        parts += ["## What has an aim and is no ratio", _claims(others)]
    heads = ("measured", "unit", "median", "lowest", "highest")
    parts += ["## Everything that was measured"]
    parts += [_table(heads, ((each.name, each.unit, *_numbers(each)) for each in found.series), 2)]
    return "\n\n".join(parts) + "\n"


def _plots(found: Found) -> dict[str, str]:
    """SVG by the name of its file."""
    drawn = {each.file: plot_peers.draw(each) for each in found.comparisons}
    drawn |= {each.file: plot_curves.draw(each) for each in found.curves}
    for chapter in CHAPTERS:
        held = [each for each in found.claims if chapter.holds(each)]
        if held:
            drawn[chapter.file] = plot.draw(chapter.title, held, chapter.better, chapter.worse)
    return drawn


def _illustrated(title: str, file: str) -> tuple[str, str]:
    return f"## {title}", f"![{title}]({file})"


_COMPARED = (
    "",
    "req/s",
    *(f"{each}, us" for each in peer_results.LATENCIES),
    "CPU ms for 1,000 requests, machine",
    *(f"of it {group}" for group in (CLIENT, SERVER, PROXY)),
    "memory, MB",
)


def _compared(name: str, row: Row) -> tuple[str, ...]:
    """Medians, in the order of the heads; nothing where there is no proxy."""
    cpu = [row.cpu.get(group) for group in (CLIENT, SERVER, PROXY)]
    measured = (row.rate, *row.latencies.values(), row.busy, *cpu)
    memory = number(row.memory.median / 1e6) if row.memory else ""
    return (name, *(number(each.median) if each else "" for each in measured), memory)


def _medians(line: Iterable[Series]) -> tuple[str, ...]:
    return tuple(number(each.median) for each in line)


def _chapter_of(claim: Claim) -> Chapter:
    if not claim.more_is_better:
        return LATENCY
    return DIRECT if claim.is_against_direct else OTHERS


def _claims(claims: Iterable[Claim]) -> str:
    rows = (
        (
            each.series.name + ("" if each.is_ratio else f" ({each.series.unit})"),
            *_numbers(each.series),
            f"{each.aim or ''}",
            result.verdict(each),
        )
        for each in claims
    )
    return _table(("", "median", "lowest", "highest", "aim", "result"), rows)


def _flat(about: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Machine, versions and settings, one to a line; without those that say nothing."""
    for name, value in about.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}: {key}", each) for key, each in _flat(value))
        elif name != "warnings" and value not in ("", ()):
            yield name, ", ".join(value) if isinstance(value, tuple) else str(value)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Columns after the first ``left`` are numbers, and aligned as such."""
    rule = [":--" if number < left else "--:" for number in range(len(heads))]
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in (heads, rule, *rows))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _numbers(series: Series) -> tuple[str, str, str]:
    low, high = series.spread
    return number(series.median), number(low), number(high)
