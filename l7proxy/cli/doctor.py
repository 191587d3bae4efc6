"""``l7proxy doctor``."""

from __future__ import annotations

import click

from l7proxy.cli import machine, options, show
from l7proxy.config import Config

_MARKS = {True: "ok", False: "lacking", None: "unknown"}


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
        show.table(
            ["check", "state", "what was found", "remedy"],
            [[each.name, _MARKS[each.ok], each.detail, each.remedy] for each in checks],
        )
    needed = lacking and config.datapath != "userspace"
    return 1 if needed else 0
