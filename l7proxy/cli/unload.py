"""``l7proxy unload``."""

from __future__ import annotations

import click

from l7proxy.cli import options
from l7proxy.config import Config


@click.command("unload")
@options.config
def command(config: Config) -> None:
    """Remove everything from the kernel."""
    from l7proxy.datapath.api import unload

    unload(config)
