"""The page's modules without a browser: see tests/ui/js."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TESTS = sorted((Path(__file__).parent / "js").glob("*.test.mjs"))
# As "node --test" does, but in one process.
RUN = "for (const each of process.argv.slice(1)) await import(each)"


@pytest.mark.needs_command("node")
def test_the_modules_pass_their_own_tests() -> None:
    assert TESTS
    done = subprocess.run(
        ["node", "--input-type=module", "-e", RUN, *map(str, TESTS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# fail 0\n" in done.stdout
    assert "# pass 0\n" not in done.stdout
