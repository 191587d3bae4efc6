"""The pods themselves: who reaches whom, where processes run, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from l7proxy.demo import cgroups, namespaces, pods, servers
from l7proxy.demo.pods import Node

pytestmark = pytest.mark.needs_ebpf


def left_behind(name: str) -> list[str]:
    """Whatever of the node ``name`` is still on the machine."""
    found = [str(p) for p in namespaces.RUN.glob(f"{name}*")]
    found += [str(p) for p in cgroups.mount_point().glob(f"{name}*")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if name in line]
    found += [str(p) for p in Path("/tmp").glob(f"{name}*")]
    return found


@pytest.mark.needs_command("nginx")
def test_everyone_reaches_a_pod_by_both_families(node: Node) -> None:
    users = node.add_pod("reachable")
    other = node.add_pod("other")
    service = node.add_service("batch")
    body = servers.echo("users")
    endpoints = [(users.ip, 80), (users.ip6, 80), ("127.0.0.1", 80), ("::1", 80)]
    servers.nginx(users, node.directory / "reachable", endpoints, body=body)
    # The router one hop away comes first: nobody has asked for the pod's addresses before.
    for client in (node.outside, other, service, node.host):
        for address in (users.ip, users.ip6):
            outcome = client.http("GET", address, 80, "/a/../b")
            assert (outcome.status, outcome.body) == (200, b"users: GET /a/../b\n"), client.name
    for address in ("127.0.0.1", "::1"):
        assert users.http("GET", address, 80, "/").status == 200
        assert other.http("GET", address, 80, "/").error == "ECONNREFUSED"


def test_a_client_is_seen_by_its_own_address(node: Node) -> None:
    server = node.add_pod("seeing")
    client = node.add_pod("seen")
    servers.python(server, node.directory / "seeing", "seeing", server.ip, 8080)
    assert client.http("GET", server.ip, 8080).header("X-Peer") == client.ip
    assert node.outside.http("GET", server.ip, 8080).header("X-Peer") == node.outside.ip


def test_processes_run_in_their_cgroup_from_the_first_instruction(node: Node) -> None:
    pod = node.add_pod("where")
    service = node.add_service("where-service", pod=pod)
    script = "cat /proc/self/cgroup; readlink /proc/self/ns/net"
    inside = f"0::{cgroups.path_below_mount(node.cgroup)}/"
    in_pod = pod.run(["sh", "-c", script]).stdout
    in_service = service.run(["sh", "-c", script]).stdout
    assert f"{inside}pods/default_where\n" in in_pod
    assert f"{inside}services/where-service\n" in in_service
    assert in_pod.splitlines()[-1] == in_service.splitlines()[-1]
    assert inside not in node.outside.run(["sh", "-c", script]).stdout


def test_nothing_is_left_behind_after_a_failure_inside() -> None:
    node = Node("test-fail")

    def fail_inside() -> None:
        with node:
            pod = node.add_pod("users")
            pod.popen(["sh", "-c", "trap '' TERM; while :; do sleep 60; done"])
            # A process that left its session and lost its parent is found by its cgroup.
            pod.run(["setsid", "--fork", "sh", "-c", "exec sleep 600 >/dev/null 2>&1"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert left_behind(node.id) == []


def test_nothing_is_left_behind_after_a_failed_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise namespaces.NamespaceError(name)

    node = Node("test-partial")
    monkeypatch.setattr(namespaces, "forward", refuse)
    with pytest.raises(namespaces.NamespaceError):
        node.__enter__()
    assert left_behind(node.id) == []


def test_a_killed_owner_is_cleaned_up_after_and_a_live_one_is_not(node: Node) -> None:
    script = (
        "import sys, signal; from l7proxy.demo.pods import Node\n"
        "node = Node('test-killed').__enter__(); node.add_pod('users').popen(['sleep', '600'])\n"
        "print(node.id, flush=True); signal.pause()"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner, owner.stdout:
        name = owner.stdout.readline().strip()
        assert left_behind(name) != []
        pods.sweep()
        assert left_behind(name) != []
        os.kill(owner.pid, signal.SIGKILL)
    pods.sweep()
    assert left_behind(name) == []
    assert left_behind(node.id) != []
