"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from l7proxy.cli.errors import told
from l7proxy.config import Config, find_file, load

# Whether a file can be read is found by reading it: then the message names it, and the exit code
# is not that of wrong usage.
PATH = click.Path(path_type=Path, readable=False)

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _load(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> Config:
    with told():
        return load(path or find_file())


def config(command: _Command) -> _Command:
    """``-c FILE``: the command gets the loaded ``config``."""
    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        type=PATH,
        callback=_load,
        help="Configuration. Default: l7proxy.yaml here or in /etc/l7proxy, else all defaults.",
    )(command)


def output(command: _Command) -> _Command:
    """``-o text|json``: the command gets ``as_json``."""
    return click.option(
        "-o",
        "--output",
        "as_json",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        callback=lambda ctx, parameter, value: value == "json",
        help="Text for people, or one JSON document.",
    )(command)
