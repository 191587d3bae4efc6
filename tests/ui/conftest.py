"""A fake agent, and ``l7proxy ui`` as a user starts it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.ui import traffic
from tests.ui.fake_agent import FakeAgent


@dataclass(frozen=True)
class Site:
    """A running server, and the agent that it asks."""

    url: str
    agent: FakeAgent
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 80


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("ui")
    (folder / "run").mkdir()
    config = folder / "l7proxy.yaml"
    config.write_text("state: run\n")
    agent = FakeAgent(folder / "run" / "admin.sock")
    prepare(agent)
    agent.start()
    command = ["-m", "l7proxy", "ui", "--listen", "127.0.0.1:0", "-c", str(config)]
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("the map is at http://127.0.0.1:"), said
            yield Site(said.split()[4], agent, process)
        finally:
            process.terminate()
            code = process.wait(10)
            agent.stop()
    assert code == 0


def prepare(agent: FakeAgent) -> None:
    """What an agent at work answers."""
    agent.answers = {
        "/status": (200, traffic.STATUS),
        "/workloads": (200, traffic.WORKLOADS),
        "/policies": (200, {"revision": 7, "errors": [], "policies": []}),
        "/explain": (200, traffic.EXPLAINED),
    }
