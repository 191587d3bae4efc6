"""``l7proxy observe``."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from l7proxy.cli import admin, offline, options, show
from l7proxy.cli.errors import CommandError
from l7proxy.cli.filter_options import FilterCommand, filter_options, given_filters
from l7proxy.config import Config
from l7proxy.observe import selection, text, times
from l7proxy.observe.hub import KEPT_HEADER
from l7proxy.observe.seen import LINE_BYTES, LineError, Seen, read
from l7proxy.observe.selection import Selection

if TYPE_CHECKING:
    from l7proxy.cli.explaining import Explainer

_LAST = 20


@click.command("observe", cls=FilterCommand)
@click.option("--last", metavar="N", type=click.IntRange(0), help=f"The last N. Default: {_LAST}.")
@click.option("--first", metavar="N", type=click.IntRange(1), help="The oldest N that are kept.")
@click.option("--all", "everything", is_flag=True, help="All that are kept.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")
@click.option("--since", metavar="TIME", help="A duration ago (5m, 1h30m) or RFC 3339.")
@click.option("--until", metavar="TIME", help="The same.")
@click.option("--input-file", metavar="FILE", help="Read this, of Hubble too; - is standard input.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["compact", "dict", "json", "jsonpb", "table"]),
    default="compact",
    show_default=True,
)
@click.option(
    "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True
)
@click.option(
    "--time-format",
    type=click.Choice(list(times.FORMATS)),
    metavar="NAME",
    default="StampMilli",
    help=f"{', '.join(times.FORMATS)}.",
)
@click.option("--print-node-name", is_flag=True)
@click.option("--print-policy-names", is_flag=True, help="And rules, or why none decided.")
@click.option("--explain", is_flag=True, help="Of what was refused: the nearest rule, and why.")
@offline.documents("With --explain: these policies, not the running agent.")
@filter_options
@options.config
def command(config: Config, **given: Any) -> None:
    """Show requests: live, the last ones, or from a file.

    A filter given twice means either; different ones must hold together; --not turns the filter
    behind it round. Names and meaning are those of hubble observe.
    """
    _check(given)
    now = time.time_ns()
    chosen = Selection(
        given_filters(given),
        _moment("since", given["since"], now),
        None if given["follow"] else _moment("until", given["until"], now),
    )
    count = given["last"]
    spanned = chosen.since is not None or chosen.until is not None
    bounded = not spanned and not (given["follow"] or given["everything"] or given["first"])
    if count is None and bounded and given["input_file"] is None:
        count = _LAST
    printer = _printer(given, config)
    with _source(given, config, spanned) as (past, coming):
        known: Iterable[Seen] = (seen for seen in past if chosen.takes(seen))
        if given["first"]:
            known = selection.first(given["first"], known)
        printer.show(known if count is None else selection.last(count, known))
        printer.show(seen for seen in coming if chosen.takes(seen))
    if given["follow"]:
        raise CommandError("the agent has ended")


@dataclass(slots=True)
class _Printer:
    output: str
    style: text.Style
    explainer: Explainer | None
    shown: int = 0

    def show(self, records: Iterable[Seen]) -> None:
        if self.output == "table":
            rows = [text.columns(seen, self.style) for seen in records]
            for line in text.table([text.headings(self.style), *rows]) if rows else ():
                click.echo(line)
            return
        for seen in records:
            told = self.explainer.explain(seen.flow) if self.explainer and seen.flow else {}
            if self.output in ("json", "jsonpb"):
                click.echo(text.as_json(text.with_explanation(seen.document, told)))
                continue
            if self.output == "dict":
                separator = f"{text.SEPARATOR}\n" if self.shown else ""
                shown = separator + text.block(seen, self.style)
            else:
                shown = text.compact(seen, self.style)
            lines = [f"  {name:8} {show.plain(value)}" for name, value in told.items()]
            self.shown += 1
            # Colour is our own decision by now; click would take it away.
            click.echo("\n".join((shown, *lines)), color=self.style.colour)


def _check(given: dict[str, Any]) -> None:
    """Raises UsageError for options that mean nothing together."""
    for one, other in (
        ("first", "last"),
        ("first", "everything"),
        ("first", "follow"),
        ("last", "everything"),
        ("follow", "input_file"),
    ):
        if given[one] and given[other]:
            names = {"everything": "all", "input_file": "input-file"}
            first, second = names.get(one, one), names.get(other, other)
            raise click.UsageError(f"--{first} cannot be combined with --{second}")
    if given["output"] == "table" and (given["follow"] or given["explain"]):
        raise click.UsageError("-o table cannot be combined with --follow or --explain")
    if given["policy_paths"] and not given["explain"]:
        raise click.UsageError("--policies needs --explain")
    offline.check(given["policy_paths"], given["workloads_path"])


def _moment(option: str, value: str | None, now: int) -> int | None:
    try:
        return None if value is None else times.ago(value, now)
    except ValueError as error:
        raise click.UsageError(f"--{option}: {error}") from None


def _printer(given: dict[str, Any], config: Config) -> _Printer:
    auto = given["color"] == "auto" and _is_terminal() and not os.environ.get("NO_COLOR")
    colour = given["color"] == "always" or auto
    style = text.Style(
        colour, given["time_format"], given["print_node_name"], given["print_policy_names"]
    )
    return _Printer(given["output"], style, _explainer(given, config))


def _explainer(given: dict[str, Any], config: Config) -> Explainer | None:
    if not given["explain"]:
        return None
    # Here, since only this needs to know what decides requests.
    from l7proxy.cli import explaining

    paths, workloads = given["policy_paths"], given["workloads_path"]
    ask = explaining.of_policies(paths, workloads, config) if paths else None
    return explaining.Explainer(ask or explaining.of_agent(config))


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


@contextlib.contextmanager
def _source(
    given: dict[str, Any], config: Config, spanned: bool
) -> Iterator[tuple[Iterator[Seen], Iterator[Seen]]]:
    """The records of the past, and those that are still to come."""
    name = given["input_file"]
    if name == "-":
        yield _records(sys.stdin.buffer, "standard input"), iter(())
    elif name is not None:
        with Path(name).open("rb") as file:
            yield _records(file, name), iter(())
    elif given["follow"]:
        # All that is kept, since filters choose among it; nothing where none was asked for.
        past = "" if spanned or given["last"] or given["everything"] else "&last=0"
        with admin.stream(config.admin_socket, f"/flows?follow=1{past}") as response:
            kept = int(response.headers.get(KEPT_HEADER, "0"))
            lines = _records(response, "the agent")
            yield islice(lines, kept), lines
    else:
        with admin.stream(config.admin_socket, "/flows") as response:
            yield _records(response, "the agent"), iter(())


def _records(file: IO[bytes], name: str) -> Iterator[Seen]:
    """The records of a file; what is none is told on standard error and passed over."""
    number = 0
    while line := file.readline(LINE_BYTES + 1):
        number += 1
        rest = line
        while rest and not rest.endswith(b"\n") and len(rest) > LINE_BYTES:
            rest = file.readline(LINE_BYTES + 1)
        if not line.strip():
            continue
        try:
            yield read(line)
        except LineError as error:
            click.echo(f"l7proxy: {show.plain(name)}:{number}: {show.plain(str(error))}", err=True)
