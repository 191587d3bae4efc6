"""``make bench``: the roads against direct connections and other proxies, in one run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from l7proxy.demo import abilities
from l7proxy.demo.agents import AgentError
from l7proxy.demo.servers import ServerError
from loadtest import (
    comparison,
    idle,
    kernel_road,
    machine,
    progress,
    ready,
    report_folder,
    result,
    side_by_side,
    splice_road,
)
from loadtest.answers import AnswerError
from loadtest.found import Found
from loadtest.progress import Progress
from loadtest.rounds import Claim
from loadtest.uploads import UploadError
from loadtest.wrk import WrkError

PLAIN_WIDTH = 120
SECTIONS = ("peers", "splice", "kernel", "idle", "ready")
FAILURES = (AgentError, AnswerError, ServerError, UploadError, WrkError)


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for. ``cases`` chooses among those of the sections peers and kernel."""

    rounds: int
    seconds: float
    connections: int
    only: tuple[str, ...]
    cases: str

    @property
    def whole(self) -> bool:
        return not self.cases and set(self.only or SECTIONS) == set(SECTIONS)


Section = tuple[int, Callable[[Progress], Found]]
"""How many measurements are made, and what makes them."""


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Rounds; medians are shown.")
@click.option("--seconds", default=3.0, show_default=True, help="Length of each measurement.")
@click.option("--connections", default=idle.CONNECTIONS, show_default=True, help="Idle ones.")
@click.option("--only", multiple=True, type=click.Choice(SECTIONS), help="Leave out the others.")
@click.option("--cases", default="", help="Of peers and kernel (regex).")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the result there.")
@click.option("--report", type=click.Path(path_type=Path), help="Write JSON, tables, plots there.")
@click.option("--check", is_flag=True, help="Exit with 1 if an aim was missed.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="Compare ratios with this earlier result; exit with 1 on a loss beyond noise.",
)
def main(
    path: Path | None,
    report: Path | None,
    check: bool,
    against: Path | None,
    **options: Any,
) -> None:
    """Measure, and compare with what is promised."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    settings = Settings(**options)
    try:
        re.compile(settings.cases)
        then = result.read(against) if against else None
    except re.error as error:
        raise click.BadParameter(str(error), param_hint="--cases") from None
    except result.ResultError as error:
        raise click.ClickException(str(error)) from None
    about = {"date": _now(), "revision": machine.revision(), "machine": machine.facts()}
    warnings: list[str] = []

    def warn(text: str) -> None:
        warnings.append(text)
        console.print(f"!!! {text}", style="bold red", markup=False, highlight=False)

    found = _run(console, settings, warn)
    result.show(console, found)
    # Only now all that were to be installed are there.
    about |= {"versions": machine.versions(), "settings": asdict(settings), "warnings": warnings}
    try:
        if path:
            result.write(path, result.as_json(found, about))
        if report:
            report_folder.write(report, found, about)
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    failed = check and not all(claim.met for claim in found.claims)
    if then is not None:
        failed |= not _compared(console, then, found.claims, whole=settings.whole)
    if failed:
        raise SystemExit(1)


def _run(console: Console, settings: Settings, warn: Callable[[str], None]) -> Found:
    lacking = abilities.lacking()
    if lacking:
        warn(f"left out, what needs eBPF: {lacking}")
    sections = _sections(settings, warn, ebpf=not lacking)
    found = Found()
    try:
        expected = sum(count for count, _ in sections)
        with progress.shown(console, expected, settings.seconds) as tell:
            for _, measure in sections:
                found.add(measure(tell))
    except FAILURES as error:
        raise click.ClickException(str(error)) from None
    return found


def _sections(settings: Settings, warn: Callable[[str], None], *, ebpf: bool) -> list[Section]:
    """Those that were asked for and are possible, in their order."""
    rounds, seconds, connections = settings.rounds, settings.seconds, settings.connections
    cases = settings.cases
    all_sections: dict[str, Section] = {
        "peers": (
            side_by_side.expected(rounds, cases, ebpf=ebpf),
            lambda tell: side_by_side.measure(rounds, seconds, tell, warn, ebpf=ebpf, only=cases),
        ),
        "splice": (
            splice_road.expected(rounds),
            lambda tell: splice_road.measure(rounds, seconds, tell),
        ),
        "kernel": (
            kernel_road.expected(rounds, cases),
            lambda tell: kernel_road.measure(
                rounds, seconds, tell, warn, connections=connections, only=cases
            ),
        ),
        "idle": (idle.EXPECTED, lambda tell: idle.measure(tell, connections)),
        "ready": (
            ready.expected(rounds, ebpf=ebpf),
            lambda tell: ready.measure(rounds, tell, ebpf=ebpf),
        ),
    }
    impossible = () if ebpf else ("splice", "kernel")
    chosen = settings.only or SECTIONS
    possible = [all_sections[n] for n in SECTIONS if n in chosen and n not in impossible]
    return [section for section in possible if section[0]]


def _compared(console: Console, then: list[Claim], now: list[Claim], *, whole: bool) -> bool:
    """Whether no ratio is worse than it was."""
    changes = comparison.compare(then, now, whole=whole)
    comparison.show(console, changes)
    if not any(change.then and change.now for change in changes):
        raise click.ClickException("nothing was measured that the earlier result has, too")
    return not any(change.verdict.fails for change in changes)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    main()
