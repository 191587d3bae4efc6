"""The filters of ``observe`` as options, and ``--not`` before any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import click

from l7proxy.observe.filters import FILTERS, Filters

_PREFIX = "filter_"
_NOT = "\0"
"""Before the value of a filter that ``--not`` stands before; no argument can hold it."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


class FilterCommand(click.Command):
    """A command with ``filter_options``, which its help shows in a section of their own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_marked(args, ctx)))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], "Filters": []}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                is_filter = (parameter.name or "").startswith(_PREFIX)
                sections["Filters" if is_filter else "Options"].append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def filter_options(command: _Command) -> _Command:
    """All filters of ``observe``, ``--not`` and ``--denied``; see ``given_filters``."""
    for each in reversed(FILTERS.values()):
        names = [f"--{each.name}", f"{_PREFIX}{each.name.replace('-', '_')}"]
        if each.short:
            names.insert(0, f"-{each.short}")
        command = click.option(*names, metavar=each.metavar, multiple=True, help=each.help)(command)
    denied = click.option(
        "--denied", f"{_PREFIX}denied", is_flag=True, help="Short for --verdict DROPPED."
    )
    negate = click.option(
        "--not", f"{_PREFIX}not", is_flag=True, help="Turns the filter behind it round."
    )
    return denied(negate(command))


def given_filters(given: Mapping[str, Any]) -> Filters:
    """The filters among a command's arguments. Raises UsageError for a value that is wrong."""
    filters = Filters()
    if given[f"{_PREFIX}denied"]:
        filters.add("verdict", "DROPPED")
    for name in FILTERS:
        for value in given[f"{_PREFIX}{name.replace('-', '_')}"]:
            try:
                filters.add(name, value.removeprefix(_NOT), negated=value.startswith(_NOT))
            except ValueError as error:
                raise click.UsageError(f"--{name}: {error}") from None
    return filters


def _marked(args: list[str], ctx: click.Context) -> Iterator[str]:
    """The arguments without ``--not``, and the values that one stood before marked."""
    rest = iter(args)
    for argument in rest:
        if argument != "--not":
            yield argument
            continue
        option = next(rest, "")
        name, equals, value = option.partition("=")
        short = {f"-{each.short}" for each in FILTERS.values() if each.short}
        if option[:2] in short and option[2:]:
            yield f"{option[:2]}{_NOT}{option[2:]}"
        elif name.removeprefix("--") in FILTERS and equals:
            yield f"{name}={_NOT}{value}"
        elif name.removeprefix("--") in FILTERS or name in short:
            yield option
            if (following := next(rest, None)) is not None:
                yield f"{_NOT}{following}"
        else:
            raise click.UsageError("--not must stand before a filter", ctx)
