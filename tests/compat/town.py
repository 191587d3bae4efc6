"""A node with all the servers in a pod, a client pod, and an agent for each way."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from l7proxy.demo.agents import Agent
from l7proxy.demo.places import stop
from l7proxy.demo.pods import Node
from tests.compat import servers
from tests.compat.clients import Client
from tests.compat.servers import FIRST_PORT, Kind

WAYS = ("direct", "splice", "kernel", "proxy")
PATIENCE = 300.0
Results = dict[tuple[str, str, str], Any]
"""Drivers' lines by client, server and exchange."""


class TownError(Exception):
    """A way is not what it should be, or a driver gave up."""


class Town:
    """The servers run through all ways; only agent and policy change."""

    def __init__(self, node: Node, kinds: list[Kind]) -> None:
        self._node = node
        self._server = node.add_pod("server", {"app": "server"})
        behind = node.add_pod("behind", {"app": "behind"})
        self._client = node.add_pod("near", {"app": "near"})
        node.write_workloads()
        back = (behind.ip, FIRST_PORT - 1)
        folder = node.directory / "servers"
        self._running = [servers.start(servers.NODE, behind, folder / "behind", back, back)]
        self._ports = {kind.name: FIRST_PORT + number for number, kind in enumerate(kinds)}
        for kind in kinds:
            listen = (self._server.ip, self._ports[kind.name])
            started = servers.start(kind, self._server, folder / kind.name, listen, back)
            self._running.append(started)

    @contextlib.contextmanager
    def way(self, name: str) -> Iterator[None]:
        """An agent with the policy of this way, none for ``direct``. Raises TownError."""
        policy = self._node.directory / "policies" / "server.yaml"
        policy.unlink(missing_ok=True)
        if name == "direct":
            yield
            return
        if name != "splice":
            policy.write_text(yaml.safe_dump(self._policy(name)))
        log = self._node.directory / f"{name}.log"
        config = self._node.directory / f"{name}.yaml"
        config.write_text(yaml.safe_dump(self._node.config(access_log=str(log))))
        agent = Agent(self._node.agent, config)
        agent.start()
        try:
            yield
        finally:
            assert agent.process is not None
            stop(agent.process)
        # The programs outlive the agent; the next way must not find records of this one.
        if (done := agent.command("unload", "-c", str(config))).returncode:
            raise TownError(f"way {name}: l7proxy unload: {done.stderr.strip()}")
        self._check_road(name, log)

    def run(self, client: Client) -> Results:
        """The client's whole plan against all servers. Raises TownError."""
        bases = {name: f"http://{self._server.ip}:{port}" for name, port in self._ports.items()}
        argv = client.argv(self._node.directory, bases)
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        done = self._client.run(argv, PATIENCE, env=environment)
        if done.returncode:
            raise TownError(f"{client.name}: {done.stderr.strip()[-500:]}")
        # A server that ended would answer in the same way, not at all, on every way.
        for server in self._running:
            if server.process.poll() is not None:
                raise TownError(f"{server.directory.name} ended: {server.log()[-500:]}")
        lines = map(json.loads, done.stdout.splitlines())
        return {(client.name, line["server"], line["exchange"]): line for line in lines}

    def _policy(self, way: str) -> dict[str, Any]:
        rules: dict[str, Any] = {"http": [{"name": "all", "path": "/.*"}]}
        if way == "proxy":
            rules["datapath"] = "proxy"
        ports = [{"port": str(port), "protocol": "TCP"} for port in self._ports.values()]
        return {
            "apiVersion": "l7proxy.io/v1alpha1",
            "kind": "L7Policy",
            "metadata": {"name": "server"},
            "spec": {
                "endpointSelector": {"matchLabels": {"app": "server"}},
                "ingress": [
                    {"fromEntities": ["all"], "toPorts": [{"ports": ports, "rules": rules}]}
                ],
            },
        }

    def _check_road(self, way: str, log: Path) -> None:
        """What the records say: every server was reached by this road and by no other."""
        seen: dict[int, set[str]] = {port: set() for port in self._ports.values()}
        for line in log.read_text().splitlines() if log.exists() else []:
            flow = json.loads(line)["flow"]
            port = flow["l4"]["TCP"]["destination_port"]
            if flow.get("is_reply"):
                port = flow["l4"]["TCP"]["source_port"]
            if port in seen:
                seen[port].add(flow["extensions"]["value"]["road"])
        wanted = set() if way == "splice" else {way}
        if wrong := {port: roads for port, roads in seen.items() if roads != wanted}:
            raise TownError(f"way {way}: these ports were reached by other roads: {wrong}")


@contextlib.contextmanager
def town(kinds: list[Kind]) -> Iterator[Town]:
    """Everything that it made is gone afterwards."""
    with Node("compat") as node:
        print(f"compat: {len(kinds)} servers", file=sys.stderr)
        yield Town(node, kinds)
