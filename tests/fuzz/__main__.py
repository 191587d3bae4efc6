"""``python -m tests.fuzz``: looks for faults in what reads the words of others."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.fuzz.hunt import Result, hunt
from tests.fuzz.targets import TARGETS


@click.command()
@click.argument("names", metavar="[TARGET]...", nargs=-1, type=click.Choice(list(TARGETS)))
@click.option("--minutes", type=float, default=5.0, show_default=True, help="For each target.")
@click.option("--input", "path", type=click.Path(dir_okay=False, exists=True, path_type=Path))
def main(names: tuple[str, ...], minutes: float, path: Path | None) -> None:
    """Fuzz targets one after the other, all of them where none is named.

    Exits with 1 where there was a finding. With --input, run one target on that file alone.
    """
    if path is not None:
        if len(names) != 1:
            raise click.UsageError("--input needs one target")
        TARGETS[names[0]].run(path.read_bytes())
        return
    if importlib.util.find_spec("atheris") is None:
        raise click.ClickException("atheris is missing: run scripts/setup.sh fuzz")
    results = []
    for name in names or TARGETS:
        result = hunt(name, TARGETS[name], round(60 * minutes))
        results.append(result)
        click.echo(f"{name}: {result.executions:,} executions, {len(result.findings)} findings")
        for finding in result.findings:
            click.echo(f"  {finding.said}\n  again: {finding.command}")
    Console().print(_table(results))
    sys.exit(any(result.findings for result in results))


def _table(results: list[Result]) -> Table:
    table = Table("target", box=None)
    for heading in ("executions", "a second", "coverage", "corpus", "findings"):
        table.add_column(heading, justify="right")
    for each in results:
        rate = each.executions / each.seconds
        counts = (each.executions, round(rate), each.coverage, each.corpus, len(each.findings))
        table.add_row(each.name, *(f"{count:,}" for count in counts))
    return table


if __name__ == "__main__":
    main()
