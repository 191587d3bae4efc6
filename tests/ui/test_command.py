"""``l7proxy ui`` as a command: what it refuses, and what it warns of."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from l7proxy.cli.main import execute
from tests.ui import traffic
from tests.ui.conftest import Site


def config(folder: Path) -> Path:
    path = folder / "l7proxy.yaml"
    path.write_text("state: run\n")
    return path


@pytest.mark.parametrize("listen", ["9966", "localhost:9966", "127.0.0.1:x", "127.0.0.1:70000"])
def test_what_is_no_address_is_wrong_usage(capsys: pytest.CaptureFixture[str], listen: str) -> None:
    assert execute(["ui", "--listen", listen]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "must be an IP address and a port" in err


def test_a_port_that_is_taken_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code = execute(["ui", "--listen", address, "-c", str(config(tmp_path))])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    said = err.splitlines()[-1]
    assert said.startswith(f"l7proxy: {address}: cannot listen there: ")
    assert said.endswith("; choose another with --listen")


def test_it_starts_without_an_agent_and_warns_where_others_can_see(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "l7proxy", "ui"),
            *("-c", config(tmp_path), "--listen", "0.0.0.0:0"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said.startswith("the map is at http://0.0.0.0:")
    assert out == ""
    assert err.splitlines() == [
        "l7proxy: warning: who reaches 0.0.0.0:0 sees every request; there is no log-in",
        f"l7proxy: no agent answers at {tmp_path}/run/admin.sock yet; the page waits for one",
    ]


def test_sigterm_ends_it_at_once_though_pages_are_open(site: Site) -> None:
    site.agent.history = [traffic.lost(1)]
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    connection.request("GET", "/api/flows?last=1")
    stream = connection.getresponse()
    stream.readline()
    site.process.terminate()
    assert stream.read() == b""
    assert site.process.wait(10) == 0
