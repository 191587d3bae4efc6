"""The crowd of locust's users: what they ask for is what the demo's policy is about."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from l7proxy.demo import servers
from l7proxy.demo.places import Place
from loadtest import crowd
from tests.support.waiting import eventually

COMMAND = (sys.executable, "-m", "loadtest.crowd")
ASKED = {
    "list",
    "log in",
    "read",
    "refused: another method",
    "refused: another path",
    "refused: blocked",
}
PATIENCE = 60.0


@pytest.mark.parametrize(
    "mode", ["--userspace", pytest.param("", marks=[pytest.mark.needs_ebpf], id="pods")]
)
def test_every_kind_of_request_is_answered_as_the_policy_says(mode: str) -> None:
    argv = [*COMMAND, "--headless", "--json", "--users", "10", "--seconds", "4", *mode.split()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    stats = json.loads(done.stdout)
    assert {each["name"] for each in stats} == ASKED
    assert all(each["num_requests"] > 0 and not each["num_failures"] for each in stats)


@pytest.mark.needs_command("nginx")
def test_an_answer_that_the_policy_forbids_is_a_failure(tmp_path: Path) -> None:
    port = servers.free_port("127.0.0.1")
    with Place("bench") as place:
        endpoint = ("127.0.0.1", port)
        servers.nginx(place, tmp_path, [endpoint], body=servers.echo("users"))
        argv = [sys.executable, "-m", "locust", "-f", str(crowd.USERS), "--headless", "--json"]
        argv += ["--host", f"http://127.0.0.1:{port}", "--users", "10", "--spawn-rate", "10"]
        done = place.run([*argv, "--run-time", "4s"], timeout=PATIENCE)
    assert done.returncode == 1
    failures = {each["name"]: each["num_failures"] for each in json.loads(done.stdout)}
    assert {name for name, count in failures.items() if count} == ASKED - {"list", "read"}


@pytest.mark.parametrize(
    "mode", ["--userspace", pytest.param("", marks=[pytest.mark.needs_ebpf], id="pods")]
)
def test_the_page_starts_the_users_and_ctrl_c_ends_everything(mode: str) -> None:
    port = servers.free_port("127.0.0.1")
    argv = [*COMMAND, "--port", str(port), *mode.split()]
    with _started(argv) as process:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if f"http://127.0.0.1:{port}" in line:
                break
        else:
            pytest.fail("".join(said))
        assert "<title>Locust</title>" in _page(port, "/")
        _page(port, "/swarm", b"user_count=5&spawn_rate=5")
        stats = eventually(lambda: _asked(port), PATIENCE)
        assert all(not each["num_failures"] for each in stats)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    with pytest.raises(OSError, match="refused"):
        _page(port, "/")


def _asked(port: int) -> list[dict[str, Any]]:
    """What was asked, as soon as that is something of every kind."""
    stats = json.loads(_page(port, "/stats/requests"))["stats"]
    return stats if {each["name"] for each in stats} >= ASKED else []


def _page(port: int, path: str, data: bytes | None = None) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=10) as answer:
        return str(answer.read().decode())


@contextmanager
def _started(argv: list[str]) -> Iterator[subprocess.Popen[str]]:
    # In the background of a shell script Ctrl-C would be ignored, and whatever it starts inherits
    # that.
    heard = ["env", "--default-signal=INT", *argv]
    process = subprocess.Popen(
        heard, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)
