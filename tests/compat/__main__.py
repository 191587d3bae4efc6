"""Runs the compatibility matrix: python -m tests.compat. Root on a kernel with the kernel road."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from l7proxy.demo.servers import ServerError
from tests.compat import clients, servers
from tests.compat.comparison import Case, Difference, compare
from tests.compat.report import markdown, summary
from tests.compat.town import WAYS, Results, TownError, town

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "COMPATIBILITY.md"
AT_ONCE = 4
"""Clients that run at the same time."""
SAVED = DOCUMENT.parent.parent / "build" / "compat.json"
Cells = dict[tuple[str, str, str], list[Difference]]
"""Differences by server, client and way."""


@click.command()
@click.option("--server", "only_servers", multiple=True, help="Only these servers.")
@click.option("--client", "only_clients", multiple=True, help="Only these clients.")
@click.option("--saved", is_flag=True, help="Compare what the last run got, and run nothing.")
@click.option("--merge", is_flag=True, help="Keep what the last run got from the others.")
@click.option("--write/--no-write", default=None, help="Write docs/COMPATIBILITY.md.")
def main(
    only_servers: tuple[str, ...],
    only_clients: tuple[str, ...],
    saved: bool,
    merge: bool,
    write: bool | None,
) -> None:
    """Real clients against real servers on each road, held against direct connections.

    Exits with 1 where something differs that no name explains. The document is written where
    nothing was picked, unless told otherwise.
    """
    servers.install()
    kinds, missing = servers.available()
    users, more = clients.available()
    missing += more
    kinds = [kind for kind in kinds if not only_servers or kind.name in only_servers]
    users = [user for user in users if not only_clients or user.name in only_clients]
    for line in missing:
        click.echo(f"compat: LEFT OUT: {line}", err=True)
    before = _load() if saved or merge else {}
    try:
        found = before if saved else _run(kinds, users)
    except (TownError, ServerError) as error:
        raise click.ClickException(str(error)) from None
    if merge:
        found = {way: before[way] | lines for way, lines in found.items()}
        _save(found)
    cells = _cells(found)
    click.echo(summary(cells, found["direct"]))
    if write or (write is None and not only_servers and not only_clients):
        DOCUMENT.write_text(markdown(cells, found["direct"], missing))
    sys.exit(any(one.name is None for cell in cells.values() for one in cell))


def _run(kinds: list[servers.Kind], users: list[clients.Client]) -> dict[str, Results]:
    found: dict[str, Results] = {}
    with town(kinds) as place:
        for way in WAYS:
            found[way], begin = {}, time.monotonic()
            with place.way(way), ThreadPoolExecutor(AT_ONCE) as pool:
                for lines in pool.map(place.run, users):
                    found[way] |= lines
            _save(found)
            click.echo(f"compat: {way}: {time.monotonic() - begin:.0f} s", err=True)
    return found


def _save(found: dict[str, Results]) -> None:
    listed = {way: [[*key, line] for key, line in lines.items()] for way, lines in found.items()}
    SAVED.write_text(json.dumps(listed))


def _load() -> dict[str, Results]:
    listed = json.loads(SAVED.read_text())
    return {way: {tuple(row[:3]): row[3] for row in rows} for way, rows in listed.items()}


def _cells(found: dict[str, Results]) -> Cells:
    cells: Cells = {}
    for (client, server, exchange), direct in found["direct"].items():
        for way in WAYS[1 : len(found)]:
            case = Case(way, client, exchange, direct, found[way][client, server, exchange])
            cells.setdefault((server, client, way), []).extend(compare(case))
    return cells


if __name__ == "__main__":
    main()
