"""Where the demo plays: pods under eBPF, or plain processes of this machine in userspace mode."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import yaml

from l7proxy.demo import servers
from l7proxy.demo.agents import Agent
from l7proxy.demo.places import Place
from l7proxy.demo.pods import Node, Pod
from l7proxy.demo.scenario import LARGE_BODY, policy_text

Progress = Callable[[str], None]

USERS_PORT = 80
AUTH_PORT = 8080


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that the rows need.

    ``endpoints`` is where a client finds a server, ``ports`` the port that a policy knows it by.
    ``sources`` are the addresses that clients must connect from, where they share a namespace.
    ``enter`` is what a person puts before a command to run it as frontend.
    """

    mode: str
    agent: Agent
    pods: Mapping[str, Pod]
    endpoints: Mapping[str, tuple[str, int]]
    ports: Mapping[str, int]
    policy: Path
    metrics: str
    sources: Mapping[str, str]
    enter: str
    watcher: Place


@contextmanager
def pods(progress: Progress) -> Iterator[Stage]:
    """Pods in namespaces and cgroups, nginx in two of them, the agent on eBPF."""
    progress("making a node with four pods: network namespaces, cgroups, a bridge")
    with Node("demo") as node:
        made = {name: node.add_pod(name) for name in ("frontend", "intruder", "users", "auth")}
        users, auth = made["users"], made["auth"]
        policy = _write_policy(node.directory, USERS_PORT, AUTH_PORT)
        node.write_workloads()
        progress("starting nginx in users and auth")
        servers.nginx(
            users,
            node.directory / "users",
            [(users.ip, USERS_PORT), (users.ip6, USERS_PORT)],
            body=servers.echo("users"),
        )
        report = f"location = /report {{ {_server_header('auth')} }}\n    "
        folder = node.directory / "auth"
        (folder / "www").mkdir(parents=True)
        (folder / "www" / "report").write_bytes(_report())
        servers.nginx(
            auth,
            folder,
            [(auth.ip, AUTH_PORT), (auth.ip6, AUTH_PORT)],
            body=report + servers.echo("auth"),
        )
        config = _write_config(node.directory, node.config())
        progress("starting the agent: l7proxy run")
        agent = Agent(node.agent, config)
        agent.start()
        yield Stage(
            mode="ebpf",
            agent=agent,
            pods=made,
            endpoints={"users": (users.ip, USERS_PORT), "auth": (auth.ip, AUTH_PORT)},
            ports={"users": USERS_PORT, "auth": AUTH_PORT},
            policy=policy,
            metrics="http://127.0.0.1:9965/metrics",
            sources={},
            enter=f"{_write_enter(node)} frontend ",
            watcher=node.host,
        )


@contextmanager
def userspace(progress: Progress) -> Iterator[Stage]:
    """Python servers on loopback addresses, the agent in userspace mode in front of one."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="l7proxy-demo-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        made = {
            name: stack.enter_context(Pod(name, labels={"app": name}, v4=IPv4Address(address)))
            for name, address in (
                ("frontend", "127.0.0.2"),
                ("intruder", "127.0.0.3"),
                ("users", "127.0.0.10"),
                ("auth", "127.0.0.11"),
            )
        }
        users, auth = made["users"], made["auth"]
        ports = {name: servers.free_port(made[name].ip) for name in ("users", "auth")}
        listener = ("127.0.0.1", servers.free_port("127.0.0.1"))
        metrics = f"127.0.0.1:{servers.free_port('127.0.0.1')}"
        policy = _write_policy(directory, ports["users"], ports["auth"])
        items = [pod.manifest() for pod in made.values()]
        (directory / "workloads.yaml").write_text(
            yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items})
        )
        progress("starting Python's http.server as users and auth")
        servers.python(users, directory / "users", "users", users.ip, ports["users"])
        servers.python(auth, directory / "auth", "auth", auth.ip, ports["auth"])
        config = _write_config(
            directory,
            {
                "node": "demo-node",
                "policies": str(directory / "policies"),
                "workloads": str(directory / "workloads.yaml"),
                "datapath": "userspace",
                "state": str(directory / "state"),
                "proxy": {
                    "listen": [
                        {
                            "address": f"{listener[0]}:{listener[1]}",
                            "to": f"{users.ip}:{ports['users']}",
                            "workload": "users",
                        }
                    ]
                },
                "metrics": {"listen": metrics},
            },
        )
        progress("starting the agent: l7proxy run")
        here = stack.enter_context(Place("here"))
        agent = Agent(here, config)
        agent.start()
        yield Stage(
            mode="userspace",
            agent=agent,
            pods=made,
            endpoints={"users": listener, "auth": (auth.ip, ports["auth"])},
            ports=ports,
            policy=policy,
            metrics=f"http://{metrics}/metrics",
            sources={name: pod.ip for name, pod in made.items()},
            enter="",
            watcher=here,
        )


def _report() -> bytes:
    line = b"auth: GET /report\n"
    return line * (LARGE_BODY // len(line))


def _server_header(name: str) -> str:
    return f"default_type text/plain; add_header X-Server {name};"


def _write_enter(node: Node) -> Path:
    """A script for people: ``enter POD COMMAND...`` runs in the pod's namespace and cgroup."""
    path = node.directory / "enter"
    path.write_text(
        f"""#!/bin/sh
# enter POD COMMAND...: run a command in a pod's network namespace and cgroup.
set -e
pod=$1
shift
echo 0 >"{node.cgroup}/pods/default_$pod/cgroup.procs"
exec nsenter --net="/run/netns/{node.id}-$pod" -- "$@"
"""
    )
    path.chmod(0o700)
    return path


def _write_policy(directory: Path, users_port: int, auth_port: int) -> Path:
    folder = directory / "policies"
    folder.mkdir(exist_ok=True)
    path = folder / "users-api.yaml"
    path.write_text(policy_text(users_port, auth_port))
    return path


def _write_config(directory: Path, settings: dict[str, Any]) -> Path:
    path = directory / "l7proxy.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path
