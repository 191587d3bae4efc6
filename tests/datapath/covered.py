"""A node's datapath as the tests use it: opened, programmed and asked in the agent's own place."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from l7proxy.demo.places import stop
from l7proxy.demo.pods import Node

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 10.0
"""Seconds after which a socket that makes no progress fails its test."""

LIMITS = {"namespaces": 12, "workloads": 256, "kernel_roads": 4096, "tracked_connections": 4096}
"""Small tables load fast; ``test_programs`` loads the largest."""


class DriverError(Exception):
    """The driver's own words."""


class Covered:
    """``driver.py`` in the agent's place of a node."""

    def __init__(self, node: Node, **overrides: Any) -> None:
        self.node = node
        self.revision = 0
        self.configure(**overrides)
        self._process: subprocess.Popen[str] | None = None

    def configure(self, **overrides: Any) -> None:
        """Writes the configuration that the next driver reads."""
        settings = self.node.config(**{"limits": LIMITS, **overrides})
        self.path = self.node.directory / "l7proxy.yaml"
        self.path.write_text(yaml.safe_dump(settings))

    def start(self) -> bool:
        """Starts a driver and opens the datapath; whether it adopted what was there."""
        self._process = self.node.agent.popen(
            [sys.executable, "-m", "tests.datapath.driver", str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        return bool(self.ask("open"))

    def ask(self, op: str, **arguments: Any) -> Any:
        """One request. Raises DriverError with what went wrong."""
        process = self._process
        assert process is not None, "start first"
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise DriverError("the driver is gone")
        answer = json.loads(line)
        if "error" in answer:
            raise DriverError(answer["error"])
        return answer["ok"]

    def apply(self, policies: str | None = None) -> None:
        """Puts the node's workloads and these policies (None: those of before) into force."""
        if policies is not None:
            (self.node.directory / "policies" / "test.yaml").write_text(policies)
        self.node.write_workloads()
        self.revision += 1
        self.ask("apply", revision=self.revision)

    def counters(self) -> dict[str, int]:
        return dict(self.ask("counters"))

    @contextlib.contextmanager
    def counted(self) -> Iterator[dict[str, int]]:
        """What the counters rose by inside the block; zeroes are left out."""
        risen: dict[str, int] = {}
        before = self.counters()
        yield risen
        after = self.counters()
        risen.update({name: after[name] - before[name] for name in after})
        for name in [name for name, value in risen.items() if not value]:
            del risen[name]

    def end(self) -> None:
        """Lets the driver end by itself; what it pinned stays."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    def kill(self) -> None:
        """SIGKILL, as an agent that dies."""
        assert self._process is not None
        self._process.kill()
        self.end()


def accepted(listener: socket.socket) -> socket.socket:
    """The next connection, blocking, with PATIENCE."""
    listener.settimeout(PATIENCE)
    made, _ = listener.accept()
    made.settimeout(PATIENCE)
    return made


def received(sock: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes, fewer only at the end of the stream."""
    parts = []
    while size:
        part = sock.recv(size)
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
