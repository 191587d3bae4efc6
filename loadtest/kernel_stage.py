"""Two nodes alike for the kernel road's section, one with an agent and one without.

On each, a client and a server that are services of the node (loopback), a client and a server
that are pods, and a client outside. nginx serves both; uploads are taken by a small server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from l7proxy.demo import servers
from l7proxy.demo.agents import Agent
from l7proxy.demo.places import Place
from l7proxy.demo.pods import Node, Pod
from l7proxy.demo.servers import Server
from loadtest import kernel_rules, uploads

HOST = "127.0.0.1"
PORT, UPLOAD_PORT, POD_PORT = 8080, 8082, 80
READY_SECONDS = 60.0
"""That an agent gets to start, with others at work already."""
PORT_OF_RULES = {1: PORT, 100: 8083, kernel_rules.MANY: 8081}
"""The server's ports on loopback, by how many rules the policy has for them."""
FILES = {"8k": 8 << 10, "64k": 64 << 10, "1m": 1 << 20}
NGINX = """
    keepalive_timeout 1h;
    location /users { default_type text/plain; return 200 'alice\\n'; }
    location /users/echo { default_type text/plain; return 200 $uri; }
    location /users/files/ { }
    location ~ ^/users/copied/(.*)$ {
        sendfile off;
        tcp_nopush off;
        try_files /users/files/$1 =404;
    }
"""
"""The server sends files as Debian's nginx does, and, under /users/copied/, by nginx's defaults."""

IN_MEMORY = ("8k", "64k")


def _from_memory(name: str) -> str:
    """A location whose answer nginx has in its configuration: no file is opened for it."""
    kilobytes = FILES[name] >> 10
    return f"""
    location = /users/memory/{name} {{
        default_type text/plain;
        set $kilobyte {"x" * 1024};
        return 200 {"$kilobyte" * kilobytes};
    }}
"""


@dataclass(frozen=True, slots=True)
class Side:
    """One node with all that is on it."""

    node: Node
    service_client: Pod
    service_users: Pod
    pod_client: Pod
    pod_users: Pod
    service_server: Server
    pod_server: Server

    @property
    def outside(self) -> Place:
        return self.node.outside


@dataclass(frozen=True, slots=True)
class Stage:
    """``direct`` has nothing of l7proxy's attached; ``covered`` is what ``agent`` covers."""

    direct: Side
    covered: Side
    agent: Agent
    stack: ExitStack
    """What else is started ends with it."""

    @property
    def agent_pid(self) -> int:
        assert self.agent.process is not None
        return self.agent.process.pid

    def unrecorded(self) -> Side:
        """Another covered node, whose agent is told of next to no request that is served."""
        side = self.stack.enter_context(served("kroad-bare"))
        start_agent(side.node, limits={"flow_rate": 1})
        return side


@contextmanager
def stage() -> Iterator[Stage]:
    """Servers and the agent are running."""
    with ExitStack() as stack:
        direct = stack.enter_context(served("kroad-direct"))
        covered = stack.enter_context(served("kroad"))
        yield Stage(direct, covered, start_agent(covered.node), stack)


def not_kernel(agent: Agent) -> list[str]:
    """Destinations that policy does not send over the kernel road, one line each."""
    return [
        f"{each['workload']} port {each['port']}: {each['road']} ({each['reason']})"
        for each in agent.ask("check")["destinations"]
        if each["road"] != "kernel"
    ]


@contextmanager
def served(label: str) -> Iterator[Side]:
    """A node with clients and servers, and without an agent."""
    with Node(label) as node:
        service_users = node.add_service("users")
        pod_users = node.add_pod("pod-users", {"app": "users"})
        near = [(HOST, port) for port in PORT_OF_RULES.values()]
        side = Side(
            node,
            service_client=node.add_service("client"),
            service_users=service_users,
            pod_client=node.add_pod("pod-client", {"app": "client"}),
            pod_users=pod_users,
            service_server=_serve(node, service_users, near),
            pod_server=_serve(node, pod_users, [(pod_users.ip, POD_PORT)]),
        )
        uploads.serve(service_users, node.directory / "uploads", HOST, UPLOAD_PORT)
        yield side


def _serve(node: Node, users: Pod, endpoints: list[tuple[str, int]]) -> Server:
    folder = node.directory / users.name
    _write_files(folder / "www" / "users" / "files")
    body = NGINX + "".join(map(_from_memory, IN_MEMORY))
    return servers.nginx(users, folder, endpoints, body=body)


def _write_files(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, size in FILES.items():
        (folder / name).write_bytes(b"x" * size)


def start_agent(node: Node, *, ruled: bool = True, **overrides: Any) -> Agent:
    """An agent that serves, with one worker. Where it is not ``ruled``, no policy is there."""
    if ruled:
        one = [kernel_rules.RULE]
        near = {port: kernel_rules.many(count) for count, port in PORT_OF_RULES.items()}
        near |= {POD_PORT: one, UPLOAD_PORT: [kernel_rules.UPLOAD_RULE]}
        policy = kernel_rules.policy(near, {POD_PORT: one})
        (node.directory / "policies" / "bench.yaml").write_text(yaml.safe_dump(policy))
    node.write_workloads()
    config = node.directory / "l7proxy.yaml"
    config.write_text(yaml.safe_dump(node.config(proxy={"workers": 1}, **overrides)))
    agent = Agent(node.agent, config)
    agent.start(READY_SECONDS)
    return agent
