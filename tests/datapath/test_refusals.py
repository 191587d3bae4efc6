"""What policy denies is refused at once and by name, and so is everything that cannot be decided.

Seen to fail: with SK_DROP in bpf/steer.c's answer to ROAD_REFUSED made SK_PASS, far clients and
processes outside the cgroup come through.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from l7proxy.datapath.store import Store
from l7proxy.demo.places import Place
from l7proxy.demo.pods import NODE_V4, NODE_V6, Node, Pod
from tests.datapath.covered import LIMITS, Covered, DriverError, accepted
from tests.monitoring.files import KERNEL_TABLES

pytestmark = pytest.mark.needs_ebpf

POLICY = """
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: server}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: friend}}]
    toPorts:
    - ports: [{port: "8000", endPort: 8009, protocol: TCP}]
    - ports: [{port: "8080", protocol: TCP}]
      rules: {datapath: proxy, http: [{method: GET}]}
  - fromEntities: [all]
    toPorts: [{ports: [{port: "8100", protocol: TCP}]}]
  ingressDeny:
  - fromEndpoints: [{matchLabels: {app: stranger}}]
    toPorts: [{ports: [{port: "8100", protocol: TCP}]}]
"""
BOTH = POLICY + "---" + POLICY.replace("server", "vault")
MANY_PORTS = """
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: many}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEntities: [all]
    toPorts:
"""


NODE = str(NODE_V4.ip)
DENIED = {"PermissionError", "ConnectionRefusedError"}
REUSE_ADDRESS = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
RESET_ON_CLOSE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
TOO_MANY_ROADS = MANY_PORTS + "".join(
    f'    - ports: [{{port: "{port}", protocol: TCP}}]\n      rules: {{http: [{{}}]}}\n'
    for port in range(9000, 9400, 2)
)


@pytest.fixture(scope="module")
def covered(node: Node) -> Iterator[Covered]:
    for name in ("server", "friend", "stranger"):
        node.add_pod(name)
    for name in ("vault", "thief"):
        node.add_service(name)
    made = Covered(node, limits={**LIMITS, "kernel_roads": 256})
    made.start()
    made.apply(BOTH)
    yield made
    made.end()


@pytest.fixture
def server(covered: Covered) -> Pod:
    return covered.node.workloads[0]


def outcome(client: Place, host: str, port: int) -> str:
    """How connect() ended: "connected", or the error's name."""
    try:
        client.connect(host, port).close()
    except OSError as error:
        return type(error).__name__
    return "connected"


@pytest.mark.parametrize("family", [4, 6])
def test_denied_clients_learn_it_at_once(covered: Covered, server: Pod, family: int) -> None:
    _, friend, stranger, *_ = covered.node.workloads
    host = server.ip if family == 4 else server.ip6
    for port, friends in ((7999, False), (8000, True), (8009, True), (8010, False)):
        with server.listen(host, port):
            seen = [outcome(place, host, port) for place in (friend, stranger, covered.node.host)]
            wanted = "connected" if friends else "PermissionError"
            assert seen == [wanted, "PermissionError", "PermissionError"], port
            assert outcome(covered.node.outside, host, port) == "ConnectionRefusedError"


def test_node_is_nobody_else(covered: Covered) -> None:
    """What policy says of the pods does not concern who listens on the node's own address."""
    _, friend, stranger, vault, thief = covered.node.workloads
    for host in (NODE, str(NODE_V6.ip)):
        with covered.node.host.listen(host, 8001), vault.listen(host, 8000):
            for client in (friend, stranger, thief, covered.node.host, covered.node.outside):
                assert outcome(client, host, 8001) == "connected", client.name
            assert outcome(stranger, host, 8000) == "PermissionError"
            assert outcome(thief, host, 8000) == "PermissionError"
            assert outcome(friend, host, 8000) == "connected"


def test_leaving_the_cgroup_does_not_help(covered: Covered, server: Pod) -> None:
    """Nor does it hurt: who is in a pod's namespace is the pod, by its address."""
    _, friend, stranger, *_ = covered.node.workloads
    elsewhere = covered.node.outside.cgroup
    with server.listen(server.ip, 8000) as listener:
        for pod, wanted in ((friend, "connected"), (stranger, "ConnectionRefusedError")):
            with Place("strayed", netns=pod.netns, cgroup=elsewhere) as strayed:
                assert outcome(strayed, server.ip, 8000) == wanted
        accepted(listener).close()


def test_addresses_nobody_listed_do_not_hide_who_is_calling(covered: Covered, server: Pod) -> None:
    """Link-local addresses, and ones that the pods gave themselves."""
    _, friend, stranger, *_ = covered.node.workloads
    for number, pod in enumerate((server, friend, stranger), 1):
        for address in (f"fe80::77:{number}/64", f"fd00:77::{number}/64", f"10.77.0.{number}/24"):
            nodad = ["nodad"] if ":" in address else []
            done = pod.run(["ip", "address", "add", address, "dev", "eth0", *nodad])
            assert done.returncode == 0, done.stderr
    for host in (f"{server.ip}", "10.77.0.1", "fd00:77::1", "fe80::77:1%eth0"):
        plain = host.partition("%")[0]
        with server.listen("::" if ":" in plain else "0.0.0.0", 8100):
            for pod, wanted in ((friend, {"connected"}), (stranger, DENIED)):
                assert outcome(pod, host, 8100) in wanted, (pod.name, host)
    with server.listen("0.0.0.0", 8100), pytest.raises((PermissionError, ConnectionRefusedError)):
        stranger.connect(server.ip, 8100, source=("10.77.0.3", 0))


def test_refusal_stays_when_the_policy_goes_and_comes(covered: Covered, server: Pod) -> None:
    stranger = covered.node.workloads[2]
    with server.listen(server.ip, 8000):
        for policy, wanted in (("", "connected"), (BOTH, "PermissionError")) * 3:
            covered.apply(policy)
            assert outcome(stranger, server.ip, 8000) == wanted


def state(covered: Covered) -> Any:
    """The pinned table that says which policy set is in force."""
    build = covered.ask("status")["build"]
    layouts = json.loads((covered.node.state / f"layouts-{build}.json").read_text())["maps"]
    return Store(covered.node.bpffs / "l7proxy" / build, layouts).table("state")


def test_everything_is_refused_before_the_first_policies(covered: Covered, server: Pod) -> None:
    _, friend, stranger, *_ = covered.node.workloads
    table = state(covered)
    before = table.get(0)
    table.set(0, {**before, "epoch": 0})
    try:
        with server.listen("0.0.0.0", 8000), covered.counted() as risen:
            for client in (friend, stranger, covered.node.host, covered.node.outside, server):
                assert outcome(client, server.ip, 8000) == "ConnectionRefusedError"
        assert risen.items() >= {"not_ready": 5}.items()
    finally:
        table.set(0, before)
    with server.listen(server.ip, 8000):
        assert outcome(friend, server.ip, 8000) == "connected"


def test_policies_too_large_leave_the_old_ones_in_force(covered: Covered, server: Pod) -> None:
    _, friend, stranger, *_ = covered.node.workloads
    before = covered.ask("status")
    for _ in range(3):
        with pytest.raises(DriverError, match=r"limits\.kernel_roads") as caught:
            covered.apply(TOO_MANY_ROADS)
        assert "\n" not in str(caught.value)
        after = covered.ask("status")
        assert (after["epoch"], after["tables"]) == (before["epoch"], before["tables"])
        with server.listen(server.ip, 8000):
            assert outcome(friend, server.ip, 8000) == "connected"
            assert outcome(stranger, server.ip, 8000) == "PermissionError"
    covered.apply(BOTH)
    assert covered.ask("status")["tables"] == before["tables"]
    assert 0 < before["tables"]["roads"] < before["table_limits"]["roads"] == 256
    assert before["tables"]["namespaces"] == len(before["namespaces"])
    assert before["table_limits"].keys() <= before["tables"].keys()
    assert before["kernel_road_lacks"] or before["tables"].keys() >= set(KERNEL_TABLES)


def test_renamed_workload_is_not_open_when_its_policies_fail(covered: Covered, server: Pod) -> None:
    """It has its former identity back, and never one that the tables do not know.

    Seen to fail: with ``_restore`` empty and ``is_known`` always true, everybody gets in.
    """
    _, friend, stranger, *_ = covered.node.workloads
    name, server.name = server.name, "renamed"
    try:
        with pytest.raises(DriverError, match=r"limits\.kernel_roads"):
            covered.apply(TOO_MANY_ROADS)
        with server.listen(server.ip, 8000):
            assert outcome(stranger, server.ip, 8000) == "PermissionError"
            assert outcome(covered.node.outside, server.ip, 8000) == "ConnectionRefusedError"
            assert outcome(friend, server.ip, 8000) == "connected"
    finally:
        server.name = name
        covered.apply(BOTH)


def test_dead_proxy_refuses_what_needs_it_and_nothing_else(covered: Covered, server: Pod) -> None:
    _, friend, stranger, *_ = covered.node.workloads
    with server.listen(server.ip, 8000), server.listen(server.ip, 8080) as real:
        covered.kill()
        assert outcome(friend, server.ip, 8080) == "ConnectionRefusedError"
        assert outcome(friend, server.ip, 8000) == "connected"
        assert outcome(stranger, server.ip, 8000) == "PermissionError"
        assert outcome(covered.node.outside, server.ip, 8000) == "ConnectionRefusedError"
        assert covered.start()
        covered.apply()
        assert outcome(friend, server.ip, 8080) == "connected"
        real.setblocking(False)
        with pytest.raises(BlockingIOError):
            real.accept()


def test_exemptions_die_with_the_proxy(covered: Covered) -> None:
    """Nobody takes over the address and port that a worker was allowed to connect from."""
    vault, thief = covered.node.workloads[3:]
    with vault.listen(NODE, 8080) as real:
        dialled = covered.ask("dial", host=NODE, port=8080, netns=None)
        source = tuple(dialled["source"])
        with accepted(real) as far:
            with pytest.raises(OSError, match="in use"):
                thief.connect(NODE, 8080, source=source, options=[REUSE_ADDRESS])
            covered.kill()
            assert far.recv(1) == b""
            far.setsockopt(*RESET_ON_CLOSE)  # no TIME_WAIT keeps the port from the thief
        for restart in (False, True):
            if restart:
                covered.start()
                covered.apply()
            with pytest.raises(PermissionError):
                thief.connect(NODE, 8080, source=source, options=[REUSE_ADDRESS])
