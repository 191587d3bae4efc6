"""``l7proxy ui``."""

from __future__ import annotations

import click

from l7proxy.cli import admin, options
from l7proxy.cli.errors import CommandError
from l7proxy.config import Config, parse_endpoint
from l7proxy.file_errors import reason
from l7proxy.proxy.ports import Endpoint


def _endpoint(ctx: click.Context, parameter: click.Parameter, text: str) -> Endpoint:
    try:
        return parse_endpoint(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("ui")
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    default="127.0.0.1:9966",
    show_default=True,
    callback=_endpoint,
    help="Where to serve the page. Who reaches it sees every request.",
)
@options.config
def command(listen: Endpoint, config: Config) -> None:
    """Serve a live map of the traffic as a web page.

    It reads what the running agent knows and changes nothing. There is no log-in: by default
    the users of this machine can open it, and nobody else.
    """
    from l7proxy.ui.main import run

    if not listen.address.is_loopback:
        click.echo(
            f"l7proxy: warning: who reaches {listen} sees every request; there is no log-in",
            err=True,
        )
    if not admin.answers(config.admin_socket):
        click.echo(
            f"l7proxy: no agent answers at {config.admin_socket} yet; the page waits for one",
            err=True,
        )
    try:
        run(listen, config.admin_socket, _say)
    except OSError as error:
        raise CommandError(
            f"{listen}: cannot listen there: {reason(error)}; choose another with --listen"
        ) from None


def _say(url: str) -> None:
    click.echo(f"the map is at {url} (Ctrl-C ends it)")
