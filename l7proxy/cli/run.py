"""``l7proxy run``."""

from __future__ import annotations

import click

from l7proxy.cli import options
from l7proxy.cli.errors import CommandError
from l7proxy.config import Config


@click.command("run")
@options.config
def command(config: Config) -> int:
    """Run the agent in the foreground.

    SIGTERM drains and leaves the kernel state pinned; SIGHUP reloads.
    """
    from l7proxy.agent.errors import AgentError
    from l7proxy.agent.main import run

    try:
        return run(config)
    except AgentError as error:
        raise CommandError(str(error)) from None
