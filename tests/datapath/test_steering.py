"""What needs the proxy reaches the proxy, with the right names, and nothing passes for it.

Seen to fail: without the look at ``origins`` in bpf/steer.c a process reaches the proxy's port by
itself; with SO_REUSEADDR on the proxy's upstream sockets one takes the proxy's address and port.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from l7proxy.demo.places import Place
from l7proxy.demo.pods import Node, Pod
from tests.datapath.covered import PATIENCE, Covered, accepted, received

pytestmark = pytest.mark.needs_ebpf

HTTP = """
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: server}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEntities: [all]
    toPorts:
    - ports: [{port: "8080", protocol: TCP}]
      rules: {datapath: proxy, http: [{method: GET}]}
    - ports: [{port: "9090", protocol: TCP}]
---
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: caller}
spec:
  endpointSelector: {matchLabels: {app: caller}}
  egress:
  - toEntities: [world]
    toPorts:
    - ports: [{port: "8080", protocol: TCP}]
      rules: {datapath: proxy, http: [{method: GET}]}
    - ports: [{port: "9090", protocol: TCP}]
"""
SO_MARK = 36
REUSE_ADDRESS = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
REUSE_PORT = (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


@pytest.fixture(scope="module")
def covered(node: Node) -> Iterator[Covered]:
    for name in ("server", "client", "caller"):
        node.add_pod(name)
    made = Covered(node)
    made.start()
    made.apply(HTTP)
    yield made
    made.end()


@pytest.fixture
def server(covered: Covered) -> Pod:
    return covered.node.workloads[0]


@pytest.fixture
def real(server: Pod) -> Iterator[socket.socket]:
    """A server of the pod's own on the protected port."""
    with server.listen(server.ip, 8080) as listener:
        yield listener


def told(sock: socket.socket) -> Any:
    """What the stand-in for the proxy says about the connection."""
    sock.settimeout(PATIENCE)
    with sock.makefile("rb") as lines:
        return json.loads(lines.readline())


def proxy_port(covered: Covered, pod: Pod) -> int:
    places = covered.ask("status")["namespaces"]
    return int(next(each["proxy_port"] for each in places if each["name"] == pod.netns))


def assert_steered(client: Place, pod: Pod, **options: Any) -> None:
    with client.connect(pod.ip, 8080, **options) as near:
        assert told(near)["server"] == "default/server"


@pytest.mark.parametrize("family", [4, 6])
def test_near_and_far_clients_are_named(covered: Covered, server: Pod, family: int) -> None:
    client = covered.node.workloads[1]
    outside = covered.node.outside
    host = server.ip if family == 4 else server.ip6
    world = outside.ip if family == 4 else outside.ip6
    for place, name in ((client, "default/client"), (outside, world), (covered.node.host, "host")):
        with covered.counted() as risen, place.connect(host, 8080) as near:
            assert near.getpeername()[:2] == (host, 8080)
            assert told(near) == {
                "client": name,
                "client_endpoint": list(near.getsockname()[:2]),
                "server": "default/server",
                "destination": [host, 8080],
                "direction": "INGRESS",
            }
        assert risen["ingress_steered"] == 1


def test_every_address_of_a_server_is_steered(covered: Covered, server: Pod) -> None:
    """A policy is about the workload, not about one of its addresses."""
    client = covered.node.workloads[1]
    batch = ["ip", "-n", str(server.netns), "address"]
    where = "203.0.113.9"
    assert covered.node.host.run([*batch, "add", f"{where}/32", "dev", "eth0"]).returncode == 0
    route = ["ip", "route", "add", where, "via", server.ip]
    assert client.run(route).returncode == 0
    with client.connect(where, 8080) as near:
        assert told(near)["destination"] == [where, 8080]


def test_other_ports_go_to_the_server(covered: Covered, server: Pod) -> None:
    for place in (covered.node.workloads[1], covered.node.outside):
        with (
            server.listen(server.ip, 9090) as listener,
            place.connect(server.ip, 9090) as near,
            accepted(listener) as far,
        ):
            assert far.getpeername() == near.getsockname()
            near.sendall(b"straight")
            assert received(far, 8) == b"straight"


def test_proxys_port_is_closed_to_everybody(covered: Covered, server: Pod) -> None:
    client = covered.node.workloads[1]
    port = proxy_port(covered, server)
    for host in ("127.0.0.1", "127.0.0.9", "::1"):
        with covered.counted() as risen, pytest.raises(ConnectionRefusedError):
            server.connect(host, port)
        assert risen["proxy_port_refused"] == 1
    for place, host in (
        (server, server.ip),
        (client, server.ip),
        (covered.node.outside, server.ip6),
    ):
        with pytest.raises((ConnectionRefusedError, PermissionError)):
            place.connect(host, port)


def test_listening_on_the_proxys_port_takes_nothing_from_it(
    covered: Covered, server: Pod, real: socket.socket
) -> None:
    """SO_REUSEPORT lets a process of the same user listen beside the proxy."""
    caller = covered.node.workloads[2]
    for pod in (server, caller):
        port = proxy_port(covered, pod)
        with contextlib.ExitStack() as stack:
            thieves = [stack.enter_context(pod.tcp_socket("127.0.0.1")) for _ in range(8)]
            for thief in thieves:
                thief.setsockopt(*REUSE_PORT)
                thief.bind(("127.0.0.1", port))
                thief.listen()
                thief.setblocking(False)
            for _ in range(10):
                assert_steered(covered.node.workloads[1], server)
                with caller.connect(covered.node.outside.ip, 8080) as near:
                    assert told(near)["direction"] == "EGRESS"
            for thief in thieves:
                with pytest.raises(BlockingIOError):
                    thief.accept()
    real.setblocking(False)
    with pytest.raises(BlockingIOError):
        real.accept()


def test_upstream_reaches_the_server_and_nobody_passes_for_it(
    covered: Covered, server: Pod, real: socket.socket
) -> None:
    client = covered.node.workloads[1]
    dialled = covered.ask("dial", host=server.ip, port=8080, netns=server.netns)
    host, port = dialled["source"]
    with accepted(real) as far:
        assert far.getpeername() == (host, port)
        for options in ((), [REUSE_ADDRESS], [REUSE_PORT], [REUSE_ADDRESS, REUSE_PORT]):
            with pytest.raises(OSError, match="in use") as caught:
                server.connect(server.ip, 8080, source=(host, port), options=options)
            assert caught.value.errno == errno.EADDRINUSE
        assert_steered(client, server, source=(client.ip, port), options=[REUSE_ADDRESS])
        covered.ask("hang_up", number=dialled["number"])
        assert far.recv(1) == b""
    assert_steered(client, server, source=(client.ip, port), options=[REUSE_ADDRESS])


def test_marks_do_not_help(covered: Covered, server: Pod, real: socket.socket) -> None:
    client = covered.node.workloads[1]
    for mark in (1, 0x200, 0xB00, 1337, 0x7FFFFFFF):
        assert_steered(client, server, options=[(socket.SOL_SOCKET, SO_MARK, mark)])
    for port in (15001, 15006, 8080):
        assert_steered(client, server, source=(client.ip, port), options=[REUSE_ADDRESS])


@pytest.mark.parametrize("form", ["4", "6", "mapped"])
def test_egress_is_steered_and_shows_its_destination(covered: Covered, form: str) -> None:
    caller, outside = covered.node.workloads[2], covered.node.outside
    host = {"4": outside.ip, "6": outside.ip6, "mapped": f"::ffff:{outside.ip}"}[form]
    plain = outside.ip6 if form == "6" else outside.ip
    with covered.counted() as risen, caller.connect(host, 8080) as near:
        assert near.getpeername()[:2] == (host, 8080)
        seen = told(near)
    assert seen["client"] == "default/caller"
    assert seen["server"] == plain
    assert seen["destination"] == [plain, 8080]
    assert seen["direction"] == "EGRESS"
    assert risen["egress_steered"] == 1


def test_egress_is_steered_without_waiting_too(covered: Covered) -> None:
    caller, outside = covered.node.workloads[2], covered.node.outside
    with caller.tcp_socket(outside.ip) as near:
        near.setblocking(False)
        assert near.connect_ex((outside.ip, 8080)) in (0, errno.EINPROGRESS)
        assert told(near)["destination"] == [outside.ip, 8080]
    with caller.connect(outside.ip, 8080) as one, caller.connect(outside.ip, 8080) as two:
        assert told(one)["client_endpoint"] == list(one.getsockname())
        assert told(two)["client_endpoint"] == list(two.getsockname())


def test_other_egress_goes_straight_or_nowhere(covered: Covered, server: Pod) -> None:
    caller, outside = covered.node.workloads[2], covered.node.outside
    with outside.listen(outside.ip, 9090) as listener, caller.connect(outside.ip, 9090) as near:
        assert near.getpeername() == (outside.ip, 9090)
        with accepted(listener) as far:
            assert far.getpeername() == near.getsockname()
    for host, port in ((outside.ip, 22), (outside.ip6, 22), (server.ip, 9090)):
        with covered.counted() as risen, pytest.raises(PermissionError):
            caller.connect(host, port)
        assert risen.items() >= {"connect_refused": 1}.items()


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::", "::1", "own"])
def test_talking_to_oneself_is_nobodys_business(covered: Covered, host: str) -> None:
    """Whatever the rules of egress say; 0.0.0.0 is this host in connect()."""
    caller = covered.node.workloads[2]
    host = caller.ip if host == "own" else host
    for port in (8080, 22):
        with (
            caller.listen("::" if ":" in host else "0.0.0.0", port) as listener,
            caller.connect(host, port) as near,
            accepted(listener) as far,
        ):
            assert far.getpeername()[:2] == near.getsockname()[:2]
