"""``l7proxy demo`` as people run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from l7proxy.demo import cgroups, namespaces
from l7proxy.demo.pods import PREFIX
from l7proxy.demo.scenario import ROWS

DEMO = [sys.executable, "-m", "l7proxy", "demo"]
TIMEOUT = 170


def left_behind(pid: int) -> list[Path]:
    """What the demo run by ``pid`` left on the machine."""
    name = f"{PREFIX}demo-{pid}-*"
    return [*namespaces.RUN.glob(name), *cgroups.mount_point().glob(name), *Path("/tmp").glob(name)]


def finish(demo: subprocess.Popen[str]) -> str:
    """The demo's output, once it has ended."""
    output, _ = demo.communicate(timeout=TIMEOUT)
    return output


@pytest.mark.needs_ebpf
@pytest.mark.needs_command("nginx")
def test_demo_with_pods() -> None:
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, text=True) as demo:
        output = finish(demo)
    assert demo.returncode == 0, output
    assert f"{len(ROWS)} requests, every row is as the policy says" in output
    assert left_behind(demo.pid) == []


@pytest.mark.needs_ebpf
@pytest.mark.needs_command("nginx")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_interrupted(number: signal.Signals) -> None:
    arguments = [*DEMO, "--hold"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "starting the agent" in line:
                break
        assert left_behind(demo.pid) != []
        demo.send_signal(number)
        output = finish(demo)
    assert demo.returncode == 130, output
    assert left_behind(demo.pid) == []


def without_rights() -> list[str]:
    """A command prefix that takes root's capabilities away, as an ordinary container does."""
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def test_demo_without_rights() -> None:
    with subprocess.Popen(without_rights() + DEMO, stdout=subprocess.PIPE, text=True) as demo:
        output = finish(demo)
    assert demo.returncode == 0, output
    assert output.startswith("Userspace mode, with Python's http.server in place of nginx: ")
    assert f"{len(ROWS)} requests, every row is as the policy says" in output
