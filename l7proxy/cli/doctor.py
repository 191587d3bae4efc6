"""``l7proxy doctor``."""

from __future__ import annotations

import click

from l7proxy.cli import machine, options, show
from l7proxy.config import Config

_MARKS = {True: "ok", False: "lacking", None: "note"}


@click.command("doctor")
@options.config
@options.output
def command(config: Config, as_json: bool) -> int:
    """Tell what this machine offers and lacks.

    One line for each fact, with the remedy for what is lacking.

    Exit code: 0 if nothing is lacking for the configured datapath, else 1.
    """
    checks = machine.checks(config)
    lacking = any(check.ok is False for check in checks)
    if as_json:
        show.as_json(
            {
                "ok": not lacking,
                "checks": [
                    {
                        "name": check.name,
                        "ok": check.ok,
                        "detail": check.detail,
                        "remedy": check.remedy,
                    }
                    for check in checks
                ],
            }
        )
    else:
        for check in checks:
            remedy = f"; remedy: {check.remedy}" if check.remedy and check.ok is False else ""
            detail = show.plain(f"{check.detail}{remedy}")
            click.echo(f"{_MARKS[check.ok]:8} {check.name:13} {detail}")
    needed = lacking and config.datapath != "userspace"
    return 1 if needed else 0
