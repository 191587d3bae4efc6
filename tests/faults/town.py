"""A server with an agent, and clients that judge what they get on each way to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from l7proxy.demo import servers
from l7proxy.demo.agents import Agent
from l7proxy.demo.places import Place, stop
from l7proxy.demo.pods import Node

FOLDER = Path(__file__).parent
KERNEL_PORT, PROXY_PORT = 8000, 8001
Json = dict[str, Any]


class Town:
    """``near`` and ``far`` take the kernel road, ``proxy`` the other one."""

    def __init__(self, node: Node) -> None:
        pod = node.add_pod("server", {"app": "server"})
        self.host = pod.ip
        self.near: Place = node.add_pod("near", {"app": "near"})
        self.clients: Mapping[str, tuple[Place, int]] = {
            "near": (self.near, KERNEL_PORT),
            "far": (node.outside, KERNEL_PORT),
            "proxy": (self.near, PROXY_PORT),
        }
        self.policies = node.directory / "policies"
        self.write_policy("rules")
        node.write_workloads()
        config = node.directory / "l7proxy.yaml"
        settings = node.config(metrics={"listen": "127.0.0.1:9965"}, access_log="off")
        config.write_text(yaml.safe_dump(settings))
        self._came = node.directory / "came"
        argv = [sys.executable, "-I", "-S", str(FOLDER / "server.py"), self.host, str(self._came)]
        argv += [str(KERNEL_PORT), str(PROXY_PORT)]
        errors = node.directory / "server.err"
        with errors.open("wb") as stream:
            self.server: subprocess.Popen[Any] = pod.popen(argv, stdout=stream, stderr=stream)
        where = [(self.host, KERNEL_PORT), (self.host, PROXY_PORT)]
        servers.wait_ready(pod, self.server, where, errors)
        self.agent = Agent(node.agent, config)
        self.agent.start()
        self._place = node.agent

    def write_policy(self, name: str) -> None:
        """Rules with this name that all mean the same."""
        ports = [
            {
                "ports": [{"port": str(port), "protocol": "TCP"}],
                "rules": {"http": [{"name": name, "path": "/ok/.*"}], **more},
            }
            for port, more in ((KERNEL_PORT, {}), (PROXY_PORT, {"datapath": "proxy"}))
        ]
        policy = {
            "apiVersion": "l7proxy.io/v1alpha1",
            "kind": "L7Policy",
            "metadata": {"name": "server"},
            "spec": {
                "endpointSelector": {"matchLabels": {"app": "server"}},
                "ingress": [{"fromEntities": ["all"], "toPorts": ports}],
            },
        }
        fresh = self.policies / "server.new"
        fresh.write_text(yaml.safe_dump(policy))
        fresh.replace(self.policies / "server.yaml")

    def unapproved(self) -> list[str]:
        """Targets that reached the server although policy refuses them."""
        return self._came.read_text().splitlines() if self._came.exists() else []

    def workers(self) -> list[int]:
        """Their process ids."""
        return [each["pid"] for each in self.agent.ask("status")["workers"] if each["ready"]]

    def metric(self, name: str) -> float:
        """The sum of its samples."""
        answer = self._place.http("GET", "127.0.0.1", 9965, "/metrics").body.decode()
        lines = (line for line in answer.splitlines() if line.split("{")[0].split(" ")[0] == name)
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    @contextlib.contextmanager
    def load(self, seconds: float) -> Iterator[dict[str, Json]]:
        """Clients on every way for so long; what they say is there behind the block."""
        said: dict[str, Json] = {}
        running = {}
        for name, (place, port) in self.clients.items():
            argv = [sys.executable, "-I", "-S", str(FOLDER / "client.py"), self.host]
            argv += [str(port), str(seconds)]
            running[name] = place.popen(argv, stdout=subprocess.PIPE, text=True)
        yield said
        for name, process in running.items():
            output, _ = process.communicate(timeout=seconds + 60)
            said[name] = json.loads(output)


@contextlib.contextmanager
def town() -> Iterator[Town]:
    """Ends everything that it has started."""
    with Node("faults") as node:
        made = Town(node)
        try:
            yield made
        finally:
            assert made.agent.process is not None
            stop(made.agent.process)
