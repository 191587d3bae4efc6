"""The ``l7proxy`` command: finds the subcommand, and says in one line what went wrong.

Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted; ``explain`` has two of its own.
"""

from __future__ import annotations

import importlib
import io
import os
import sys

import click

from l7proxy import __version__
from l7proxy.cli.errors import CommandError, one_line

FAILED, USAGE, INTERRUPTED = 1, 2, 130

# Imported when they are asked for: a command does not wait for what only others need, and the
# list of commands for none of them.
_COMMANDS = {
    "run": "Run the agent in the foreground.",
    "check": "Validate policies, and show the roads.",
    "explain": "Tell what would become of a request.",
    "observe": "Show requests: live, the last ones, or from a file.",
    "status": "Show how the running agent is.",
    "workloads": "List the workloads that the agent knows.",
    "policies": "List the policies that the agent enforces.",
    "doctor": "Tell what this machine offers and lacks.",
    "unload": "Remove everything from the kernel.",
    "demo": "Show l7proxy at work.",
}


class _Commands(click.Group):
    """The subcommands, each the object ``command`` of the module with its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"l7proxy.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="l7proxy %(version)s")
def group() -> None:
    """HTTP-aware, sidecar-less node proxy with eBPF socket redirection."""


def main() -> None:
    """Run the command line and exit. A traceback never reaches the user."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: list[str]) -> int:
    """Run one command line; its exit code. Raises nothing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files and policies hold what the locale may not have.
            stream.reconfigure(errors="backslashreplace")
    try:
        result = group.main(arguments, prog_name="l7proxy", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        return _complain(error.format_message(), USAGE, prefix="")
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "l7proxy"
        return _complain(f"{one_line(error.format_message())} ({command} --help tells more)", USAGE)
    except click.ClickException as error:
        return _complain(one_line(error.format_message()), FAILED)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except CommandError as error:
        return _complain(str(error), error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _complain(f"{place}{error.strerror or error}", FAILED)
    except Exception as error:
        return _complain(f"internal error: {type(error).__name__}: {one_line(str(error))}", FAILED)


def _complain(message: str, code: int, prefix: str = "l7proxy: ") -> int:
    for line in message.splitlines():
        click.echo(f"{prefix}{line}", err=True)
    return code
