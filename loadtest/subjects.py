"""What is measured: an agent in front of nginx, without pods and with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from l7proxy.demo import servers
from l7proxy.demo.agents import Agent
from l7proxy.demo.places import Place
from l7proxy.demo.pods import Node, Pod
from l7proxy.demo.servers import Server
from loadtest.peers import PATH_RULE

HOST = "127.0.0.1"
POD_PORT = 80
FILES = {"64k": 1 << 16, "1m": 1 << 20}
NGINX = "location /users { default_type text/plain; return 200 'alice\\n'; }"


@dataclass(frozen=True, slots=True)
class Alone:
    """nginx and an agent (not started) in userspace mode on loopback, one worker."""

    place: Place
    directory: Path
    server: Server
    listener: tuple[str, int]
    agent: Agent


@dataclass(frozen=True, slots=True)
class Pods:
    """A client pod, a server pod with nginx, and an agent (not started) with one worker."""

    node: Node
    client: Pod
    server: Pod
    agent: Agent


@contextmanager
def alone(limits: Mapping[str, float] | None = None, workers: int = 1) -> Iterator[Alone]:
    """``limits`` are those of the agent's configuration."""
    with TemporaryDirectory(prefix="l7proxy-bench-") as name, Place("bench") as place:
        directory = Path(name)
        to = (HOST, servers.free_port(HOST))
        server = servers.nginx(place, directory / "nginx", [to], body=NGINX)
        listener = (HOST, servers.free_port(HOST))
        agent = userspace(place, directory / "agent", listener, to, limits, workers)
        yield Alone(place, directory, server, listener, agent)


def userspace(
    place: Place,
    directory: Path,
    listener: tuple[str, int],
    to: tuple[str, int],
    limits: Mapping[str, float] | None = None,
    workers: int = 1,
) -> Agent:
    """An agent (not started) that serves ``to`` at ``listener``, with the rule in force."""
    directory.mkdir()
    _write_policy(directory, to[1])
    workload = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "users", "labels": {"app": "users"}},
    }
    (directory / "workloads.yaml").write_text(yaml.safe_dump(workload))
    listen = {
        "address": f"{listener[0]}:{listener[1]}",
        "to": f"{to[0]}:{to[1]}",
        "workload": "users",
    }
    config = directory / "l7proxy.yaml"
    settings = {
        "datapath": "userspace",
        "state": "state",
        "proxy": {"workers": workers, "listen": [listen]},
        "metrics": {"listen": f"{HOST}:0"},
        "limits": dict(limits or {}),
    }
    config.write_text(yaml.safe_dump(settings))
    return Agent(place, config)


@contextmanager
def pods(
    label: str, *, policy: bool = True, limits: Mapping[str, float] | None = None
) -> Iterator[Pods]:
    """Without ``policy`` no rule concerns the two pods."""
    with Node(label) as node:
        client, server = node.add_pod("client"), node.add_pod("users")
        folder = node.directory / "users"
        (folder / "www").mkdir(parents=True)
        for name, size in FILES.items():
            (folder / "www" / name).write_bytes(b"x" * size)
        servers.nginx(server, folder, [(server.ip, POD_PORT)], body=NGINX)
        node.write_workloads()
        if policy:
            _write_policy(node.directory, POD_PORT)
        config = node.directory / "l7proxy.yaml"
        settings = node.config(proxy={"workers": 1}, limits=dict(limits or {}))
        config.write_text(yaml.safe_dump(settings))
        yield Pods(node, client, server, Agent(node.agent, config))


def _write_policy(directory: Path, port: int) -> None:
    folder = directory / "policies"
    folder.mkdir(exist_ok=True)
    rules = {"http": [{"method": "GET", "path": PATH_RULE}]}
    ingress = {
        "fromEntities": ["all"],
        "toPorts": [{"ports": [{"port": str(port)}], "rules": rules}],
    }
    policy = {
        "apiVersion": "l7proxy.io/v1alpha1",
        "kind": "L7Policy",
        "metadata": {"name": "bench"},
        "spec": {"endpointSelector": {"matchLabels": {"app": "users"}}, "ingress": [ingress]},
    }
    (folder / "bench.yaml").write_text(yaml.safe_dump(policy))
