"""Pages that repeat what the code says are current, and what they tell to type works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_the_reference_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/write_docs.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def console_blocks(text: str) -> list[tuple[str, str]]:
    """The commands of every ``console`` block, each with the output shown below it."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


COMMANDS = console_blocks((ROOT / "README.md").read_text())


def test_the_readme_shows_commands() -> None:
    assert len(COMMANDS) >= 3


@pytest.mark.parametrize(("command", "output"), COMMANDS, ids=[each for each, _ in COMMANDS])
def test_what_the_readme_shows_is_what_comes_out(command: str, output: str) -> None:
    """``console`` blocks hold commands that need no agent and no rights."""
    program, *arguments = shlex.split(command)
    assert program == "l7proxy"
    done = subprocess.run(
        [sys.executable, "-m", "l7proxy", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout + done.stderr == output
