"""The page's modules without a browser: see tests/ui/js."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TESTS = sorted((Path(__file__).parent / "js").glob("*.test.mjs"))


@pytest.mark.needs_command("node")
def test_the_modules_pass_their_own_tests() -> None:
    assert TESTS
    done = subprocess.run(
        ["node", "--test", *map(str, TESTS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
