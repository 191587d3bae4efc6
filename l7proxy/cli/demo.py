"""``l7proxy demo``."""

from __future__ import annotations

import click


@click.command("demo")
@click.option("--hold", is_flag=True, help="Leave everything running until Ctrl-C.")
@click.option("--userspace", is_flag=True, help="Do without eBPF even where it works.")
def command(hold: bool, userspace: bool) -> int:
    """Show l7proxy at work."""
    from l7proxy.demo.main import run

    return run(hold=hold, userspace=userspace)
