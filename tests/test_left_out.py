"""Tests that a machine cannot run are left out loudly, or fail where that is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LACKING = """
import pytest

@pytest.mark.needs_command("sh", "no-such-program")
def test_with_a_program():
    raise AssertionError("must not run")

def test_without():
    pass
"""


def run(tmp_path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """pytest on LACKING, with the project's plugin and settings."""
    file = tmp_path / "test_lacking.py"
    file.write_text(LACKING)
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.left_out"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), str(file), *options]
    kept = {key: value for key, value in os.environ.items() if key != "L7PROXY_REQUIRE_BPF"}
    return subprocess.run(
        command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["here", "in other processes"])
def test_what_is_left_out_is_told_loudly(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run(tmp_path, *options)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert any("! 1 TESTS LEFT OUT ON THIS MACHINE !" in line for line in lines)
    assert "test_lacking.py: 1 left out: the program no-such-program is missing" in lines
    assert "1 passed, 1 skipped" in lines[-1]


def test_where_all_is_required_it_fails(tmp_path: Path) -> None:
    done = run(tmp_path, L7PROXY_REQUIRE_BPF="1")
    assert done.returncode == 1
    assert "L7PROXY_REQUIRE_BPF=1, but the program no-such-program is missing" in done.stdout
    assert "1 passed, 1 error" in done.stdout.splitlines()[-1]
