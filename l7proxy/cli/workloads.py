"""``l7proxy workloads``."""

from __future__ import annotations

import click

from l7proxy.cli import admin, options, show
from l7proxy.config import Config


@click.command("workloads")
@options.config
@options.output
def command(config: Config, as_json: bool) -> None:
    """List the workloads that the agent knows."""
    document = admin.ask(config.admin_socket, "/workloads")
    if as_json:
        show.as_json(document)
    else:
        show.records(document["workloads"])
