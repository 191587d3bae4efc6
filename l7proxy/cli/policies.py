"""``l7proxy policies``."""

from __future__ import annotations

import click

from l7proxy.cli import admin, options, show
from l7proxy.config import Config


@click.command("policies")
@options.config
@options.output
def command(config: Config, as_json: bool) -> None:
    """List the policies that the agent enforces."""
    document = admin.ask(config.admin_socket, "/policies")
    if as_json:
        show.as_json(document)
    else:
        show.records(document["policies"])
