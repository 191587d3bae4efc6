"""``make bench``: the roads against direct connections and other proxies, in one run."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from l7proxy.demo import abilities
from l7proxy.demo.agents import AgentError
from l7proxy.demo.servers import ServerError
from loadtest import idle, kernel_road, proxy_road, ready, report, splice_road
from loadtest.answers import AnswerError
from loadtest.rounds import Claim, Series
from loadtest.uploads import UploadError
from loadtest.wrk import WrkError

PLAIN_WIDTH = 120
SECTIONS = ("proxy", "splice", "kernel", "idle", "ready")
FAILURES = (AgentError, AnswerError, ServerError, UploadError, WrkError)


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Rounds; medians are shown.")
@click.option("--seconds", default=3.0, show_default=True, help="Length of each measurement.")
@click.option("--connections", default=idle.CONNECTIONS, show_default=True, help="Idle ones.")
@click.option("--only", multiple=True, type=click.Choice(SECTIONS), help="Leave out the others.")
@click.option("--cases", default="", help="Of kernel, those in whose title this is found (regex).")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the result there.")
@click.option("--check", is_flag=True, help="Exit with 1 if an aim was missed.")
def main(
    rounds: int,
    seconds: float,
    connections: int,
    only: tuple[str, ...],
    cases: str,
    path: Path | None,
    check: bool,
) -> None:
    """Measure, and compare with what is promised."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    sections = only or SECTIONS
    lacking = abilities.lacking()
    if lacking:
        console.print(f"left out, what needs eBPF: {lacking}", style="bold red", markup=False)

    def progress(text: str) -> None:
        console.print(f"... {text}", style="dim", markup=False, highlight=False)

    def warn(text: str) -> None:
        console.print(f"!!! {text}", style="bold red", markup=False, highlight=False)

    series: list[Series] = []
    claims: list[Claim] = []

    def take(found: tuple[list[Series], list[Claim]]) -> None:
        series.extend(found[0])
        claims.extend(found[1])

    try:
        if "proxy" in sections:
            take(proxy_road.measure(rounds, seconds, progress, ebpf=not lacking))
        if "splice" in sections and not lacking:
            take(splice_road.measure(rounds, seconds, progress))
        if "kernel" in sections and not lacking:
            take(
                kernel_road.measure(
                    rounds, seconds, progress, warn, connections=connections, only=cases
                )
            )
        if "idle" in sections:
            take(idle.measure(progress, connections))
        if "ready" in sections:
            take(ready.measure(rounds, progress, ebpf=not lacking))
    except FAILURES as error:
        raise click.ClickException(str(error)) from None
    report.show(console, series, claims)
    settings = {"rounds": rounds, "seconds": seconds, "idle_connections": connections}
    if path:
        report.write(path, report.as_json(series, claims, settings))
    if check and not all(claim.met for claim in claims):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
