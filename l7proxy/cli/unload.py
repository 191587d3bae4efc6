"""``l7proxy unload``."""

from __future__ import annotations

import click

from l7proxy.cli import admin, options
from l7proxy.cli.errors import CommandError
from l7proxy.config import Config


@click.command("unload")
@options.config
def command(config: Config) -> None:
    """Remove everything from the kernel.

    Detaches and unpins what a stopped agent has left in force.
    """
    from l7proxy import datapath
    from l7proxy.datapath.port import DatapathError

    if admin.answers(config.admin_socket):
        raise CommandError(
            f"an agent runs on {config.state}: stop it first, it needs what would be removed"
        )
    try:
        removed = datapath.unload(config)
    except DatapathError as error:
        raise CommandError(str(error)) from None
    if removed:
        click.echo(f"removed {removed} pinned objects from {config.bpffs}")
    else:
        click.echo(f"nothing was left in {config.bpffs}")
