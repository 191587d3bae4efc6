"""The command line as a whole: usage, exit codes, one line for every failure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from l7proxy import __version__
from l7proxy.cli import main
from tests.cli.commands import POLICY, Done

L7proxy = Callable[..., Done]
COMMANDS = [
    "run",
    "check",
    "explain",
    "observe",
    "status",
    "workloads",
    "policies",
    "ui",
    "doctor",
    "unload",
    "demo",
]


def test_version(l7proxy: L7proxy) -> None:
    assert l7proxy("--version") == Done(0, f"l7proxy {__version__}\n", "")


def test_help_lists_every_command(l7proxy: L7proxy) -> None:
    done = l7proxy("--help")
    assert done.code == 0
    listing = done.out.partition("Commands:\n")[2]
    assert [line.split()[0] for line in listing.splitlines()] == COMMANDS
    assert "..." not in listing


def test_help_says_of_every_command_what_the_command_says(l7proxy: L7proxy) -> None:
    listing = l7proxy("--help").out.partition("Commands:\n")[2].splitlines()
    for name, line in zip(COMMANDS, listing, strict=True):
        assert line.split(maxsplit=1)[1] in l7proxy(name, "--help").out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(l7proxy: L7proxy, command: str) -> None:
    done = l7proxy(command, "--help")
    assert done.code == 0
    assert f"Usage: l7proxy {command}" in done.out


@pytest.mark.parametrize(
    ("arguments", "named", "remedy"),
    [
        (["fly"], "'fly'", "(l7proxy --help tells more)"),
        (["status", "--fast"], "--fast", "(l7proxy status --help tells more)"),
        (["explain", "GET"], "'TARGET'", "(l7proxy explain --help tells more)"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    l7proxy: L7proxy, arguments: list[str], named: str, remedy: str
) -> None:
    done = l7proxy(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("l7proxy: ")
    assert named in done.err
    assert done.err.endswith(f"{remedy}\n")
    assert done.err.count("\n") == 1


def test_a_configuration_with_mistakes_stops_every_command(
    l7proxy: L7proxy, tmp_path: Path
) -> None:
    file = tmp_path / "l7proxy.yaml"
    file.write_text("nodes: 1\nlimits: {head: 3}\n")
    done = l7proxy("status", "-c", file)
    assert done.code == 1
    assert done.err.splitlines() == [
        f"l7proxy: {file}:1: nodes: unknown field; did you mean node?",
        f"l7proxy: {file}:2: limits.head: unknown field",
    ]


def test_a_fault_of_our_own_is_one_line_too(
    l7proxy: L7proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command("status")
    def broken() -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("l7proxy.cli.status.command", broken)
    done = l7proxy("status")
    assert done == Done(1, "", "l7proxy: internal error: RuntimeError: first second\n")


def test_interruption(l7proxy: L7proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command("status")
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("l7proxy.cli.status.command", interrupted)
    done = l7proxy("status")
    assert (done.code, done.out, done.err.strip()) == (main.INTERRUPTED, "", "")


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    process = subprocess.Popen(
        [sys.executable, "-m", "l7proxy", "check", "-o", "json", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate()
    assert errors == b""
    assert process.returncode not in (0, -signal.SIGPIPE)


@pytest.mark.parametrize("arguments", [["--help"], ["check", "nowhere"]])
def test_closed_output_is_no_traceback(arguments: list[str]) -> None:
    command = f"exec {sys.executable} -m l7proxy {' '.join(arguments)} >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30)
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr


def test_names_that_the_locale_lacks_are_printed_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "costs-\u20ac.yaml"
    file.write_text("kind: unknown\n")
    command = [sys.executable, "-m", "l7proxy", "check", str(file)]
    western = os.environ | {"PYTHONIOENCODING": "latin-1"}
    text = subprocess.run(command, capture_output=True, timeout=30, env=western)
    assert (text.returncode, text.stdout) == (1, b"")
    assert b"costs-\\u20ac.yaml:1: kind: " in text.stderr
    document = subprocess.run(
        [*command, "-o", "json"], capture_output=True, timeout=30, env=western
    )
    [error] = json.loads(document.stdout.decode("ascii"))["errors"]
    assert error["file"] == str(file)
