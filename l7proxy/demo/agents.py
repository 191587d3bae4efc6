"""An agent as its users meet it: a process that is started, asked with commands, and stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from l7proxy.demo.client import exchange
from l7proxy.demo.places import Place, stop

READY_TIMEOUT = 20.0
"""Seconds that an agent gets until it serves."""

LOG_TIMEOUT = 5.0
"""Seconds that the access log gets to show a request."""

COMMAND = (sys.executable, "-m", "l7proxy")


class AgentError(Exception):
    """The agent did not start or did not answer; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer of ``l7proxy explain -o json`` and its exit code."""

    code: int
    verdict: str
    action: str
    backend: str | None
    policy: str | None
    rule: str | None
    reason: str
    road: str


class Agent:
    """``l7proxy run`` in a place. Its output goes to files beside the configuration."""

    def __init__(self, place: Place, config: Path) -> None:
        self.place = place
        self.config = config
        self.environment: dict[str, str] = {}
        """For the next start, beside what this process has."""
        self.settings: dict[str, Any] = yaml.safe_load(config.read_text())
        self._output = config.with_suffix(".out")
        self._errors = config.with_suffix(".err")
        self.process: subprocess.Popen[Any] | None = None

    def start(self, timeout: float = READY_TIMEOUT) -> float:
        """Start the agent; returns the seconds until it was ready. Raises AgentError."""
        begin = time.monotonic()
        with self._output.open("ab") as output, self._errors.open("ab") as errors:
            self.process = self.place.popen(
                [*COMMAND, "run", "-c", str(self.config)],
                stdout=output,
                stderr=errors,
                env={**os.environ, **self.environment},
            )
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() - begin > timeout:
                raise AgentError("the agent did not start: " + self.last_words())
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)
        return time.monotonic() - begin

    def stop(self, timeout: float = 40.0) -> int:
        """SIGTERM, and wait until it has drained; its exit code."""
        assert self.process is not None
        return stop(self.process, timeout)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def reload(self) -> None:
        """SIGHUP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def command(self, *arguments: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run an ``l7proxy`` command where the agent runs."""
        return self.place.run([*COMMAND, *arguments], timeout)

    def ask(self, *arguments: str) -> Any:
        """The JSON document that a reading command prints. Raises AgentError."""
        done = self.command(*arguments, "-c", str(self.config), "-o", "json")
        if done.returncode:
            raise AgentError(f"l7proxy {arguments[0]}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def explain(
        self,
        client: Mapping[str, str],
        server: Mapping[str, str],
        port: int,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Explanation:
        """What the running agent says would happen to a request. Raises AgentError."""
        arguments = ["--from", _labels(client), "--to", _labels(server), "--port", str(port)]
        for name, value in headers:
            arguments += ["-H", f"{name}: {value}"]
        done = self.command(
            "explain", "-c", str(self.config), "-o", "json", *arguments, method, target
        )
        try:
            answer = json.loads(done.stdout)
        except json.JSONDecodeError:
            raise AgentError(f"l7proxy explain: {done.stderr.strip()}") from None
        fields = ("verdict", "action", "backend", "policy", "rule", "reason", "road")
        return Explanation(done.returncode, *(answer[field] for field in fields))

    def requests(self) -> Iterator[dict[str, Any]]:
        """The flows in the access log so far, oldest first."""
        for path in (self._output, self._errors):
            for line in path.read_text(errors="replace").splitlines():
                if line.startswith("{"):
                    found = json.loads(line)
                    if "flow" in found:
                        yield found["flow"]

    def flow_from(self, source: tuple[str, int], timeout: float = LOG_TIMEOUT) -> Any:
        """The first request of the client connection from ``source`` (address and port).

        The log is written in batches. None where it has nothing after ``timeout`` seconds.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for flow in self.requests():
                if (flow["IP"]["source"], flow["l4"]["TCP"]["source_port"]) == source:
                    return flow
            time.sleep(0.05)
        return None

    def last_words(self) -> str:
        """The end of what the agent wrote to its standard error."""
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:]) if lines else "it said nothing"

    def folder(self, setting: str) -> Path:
        """The folder that a setting names; relative ones start at the configuration's own."""
        return self.config.parent / str(self.settings[setting])

    def admin(self, path: str) -> Any:
        """What the agent's admin socket answers to GET ``path``; None where it does not."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(10.0)
            try:
                admin.connect(str(self.folder("state") / "admin.sock"))
            except OSError:
                return None
            outcome = exchange(admin, "GET", path)
        return json.loads(outcome.body) if outcome.status == 200 else None

    def _answers(self) -> bool:
        status = self.admin("/status")
        return status is not None and status["state"] == "ready"


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())
