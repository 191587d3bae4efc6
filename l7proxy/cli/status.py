"""``l7proxy status``."""

from __future__ import annotations

import click

from l7proxy.cli import admin, options, show
from l7proxy.config import Config


@click.command("status")
@options.config
@options.output
def command(config: Config, as_json: bool) -> None:
    """Show how the running agent is.

    Datapath, programs, policy revision, roads, last error.
    """
    document = admin.ask(config.admin_socket, "/status")
    if as_json:
        show.as_json(document)
    else:
        show.sections(document)
