"""What a workload may try to get past its policy, with the sockets API and the addresses it has.

Every case was a way through, or looked like one. Each is tried next to the plain connection that
policy refuses, so that a test cannot pass because nothing works.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from l7proxy.demo import cgroups
from l7proxy.demo.agents import Agent
from l7proxy.demo.places import Place
from l7proxy.demo.pods import NODE_V4, NODE_V6, Node, Pod

pytestmark = pytest.mark.needs_ebpf

PATIENCE = 10.0
"""Seconds for a change of workloads to be in force."""

POLICIES = """
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: users}
spec:
  endpointSelector: {matchLabels: {app: users}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: frontend}}]
    toPorts: [{ports: [{port: "7000"}], rules: {http: [{method: GET, path: /ok}]}}]
  - fromEntities: [world]
    toPorts: [{ports: [{port: "7200"}]}]
  ingressDeny:
  - fromEndpoints: [{matchLabels: {app: intruder}}]
---
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: frontend}
spec:
  endpointSelector: {matchLabels: {app: frontend}}
  egress:
  - toEndpoints: [{matchLabels: {app: users}}]
  - toEntities: [world, host]
    toPorts: [{ports: [{port: "7000"}], rules: {http: [{method: GET, path: /ok}]}}]
---
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: jailed}
spec:
  endpointSelector: {matchLabels: {app: jailed}}
  egress: [{toEntities: [world]}]
---
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: store}
spec:
  endpointSelector: {matchLabels: {app: store}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: web}}]
    toPorts: [{ports: [{port: "7100"}]}]
"""

SERVER = """
import socket, sys, threading
def serve(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
def accept(listener):
    while True:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
for port in map(int, sys.argv[1:]):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=accept, args=(listener,)).start()
print("ready", flush=True)
"""

CLIENT = """
import json, socket, sys
ok = b"GET /ok HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
secret = b"DELETE /s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
def tried(attempt):
    try:
        answer = attempt()
    except OSError as error:
        print(json.dumps(type(error).__name__))
    else:
        print(json.dumps(answer))
def status(sock, request=secret):
    sock.settimeout(5)
    sock.sendall(request)
    return int(sock.recv(4096).split()[1])
"""

REFUSED = ("PermissionError", "ConnectionRefusedError", "ConnectionResetError")


def script(place: Place, body: str, *arguments: object) -> Any:
    """What ``tried`` in a program of the place found: a status, an exception's name, anything."""
    words = [sys.executable, "-c", CLIENT + body, *map(str, arguments)]
    done = place.run(words)
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def serve(place: Place, *ports: int) -> None:
    server = place.popen(
        [sys.executable, "-c", SERVER, *map(str, ports)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"


def link_local(pod: Pod) -> str:
    for line in pod.run(["cat", "/proc/net/if_inet6"]).stdout.splitlines():
        if line.startswith("fe80"):
            return str(ipaddress.IPv6Address(int(line.split()[0], 16)))
    raise AssertionError(f"{pod.name} has no link-local address")


class Town:
    def __init__(self, node: Node) -> None:
        self.node = node
        self.users = node.add_pod("users")
        self.frontend = node.add_pod("frontend")
        self.intruder = node.add_pod("intruder")
        self.jailed = node.add_pod("jailed")
        self.free = node.add_pod("free")
        self.far = str(node.outside.v4)
        self.far6 = str(node.outside.v6)
        serve(self.users, 7000, 7200)
        serve(self.free, 7000)
        serve(node.host, 7000)
        serve(node.outside, 7000)
        (node.directory / "policies" / "town.yaml").write_text(POLICIES)
        node.write_workloads()
        config = node.directory / "l7proxy.yaml"
        config.write_text(yaml.safe_dump(node.config(proxy={"workers": 1})))
        self.agent = Agent(node.agent, config)
        self.agent.start()

    def taken(self) -> Any:
        """The agent's status once it has taken the workloads as they are now."""
        before = self.agent.admin("/status")["policy"]["revision"]
        self.node.write_workloads()
        end = time.monotonic() + PATIENCE
        while (status := self.agent.admin("/status"))["policy"]["revision"] == before:
            assert time.monotonic() < end, self.agent.last_words()
            time.sleep(0.02)
        return status


@pytest.fixture(scope="module")
def town(node: Node) -> Iterator[Town]:
    made = Town(node)
    yield made
    made.agent.stop()


@pytest.fixture(scope="module")
def services(town: Town) -> dict[str, Pod]:
    """Workloads known by cgroup; from here on the node's own namespace is covered too."""
    made = {name: town.node.add_service(name) for name in ("store", "web", "other")}
    town.taken()
    return made


CONNECT = """
tried(lambda: status(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5), {request}))
"""


def asks(client: Place, host: str, port: int, request: str = "secret") -> Any:
    return script(client, CONNECT.format(request=request), host, port)


def test_egress_rules_hold_toward_every_address_of_the_node(town: Town) -> None:
    """Also while nothing covers the node's own namespace."""
    for host in (str(NODE_V4.ip), str(NODE_V6.ip), "192.0.2.1"):
        assert asks(town.frontend, host, 7000, "ok") == 200
        assert asks(town.frontend, host, 7000) == 403


@pytest.mark.parametrize("host", ["{far}", "::ffff:{far}", "{far6}"])
def test_fast_open_sends_nothing_past_the_proxy(town: Town, host: str) -> None:
    """MSG_FASTOPEN connects without connect()."""
    body = """
host = sys.argv[1]
sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
def fast():
    sock.sendto(secret, socket.MSG_FASTOPEN, (host, 7000))
    return int(sock.recv(4096).split()[1])
tried(fast)
"""
    host = host.format(far=town.far, far6=town.far6)
    assert script(town.frontend, body, host) == 403
    assert script(town.intruder, body, town.users.ip) in REFUSED


def test_a_socket_that_connects_again_is_judged_again(town: Town) -> None:
    body = """
import struct
sock = socket.socket()
sock.settimeout(5)
sock.connect((sys.argv[1], 7000))
status(sock, ok)
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
assert libc.connect(sock.fileno(), struct.pack("H14x", socket.AF_UNSPEC), 16) == 0
def again():
    sock.connect((sys.argv[2], int(sys.argv[3])))
    return status(sock)
tried(again)
"""
    assert script(town.frontend, body, town.users.ip, town.far, 7000) == 403
    assert script(town.frontend, body, town.far, town.users.ip, 7000) == 403
    assert script(town.intruder, body, town.free.ip, town.users.ip, 7200) in REFUSED


def test_own_source_address_and_port_change_nothing(town: Town) -> None:
    """Loopback as the source, a fixed port taken again at once, and any address of the pod."""
    body = """
def bound():
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
    sock.bind((sys.argv[3], 40123))
    sock.settimeout(5)
    sock.connect((sys.argv[1], int(sys.argv[2])))
    found = status(sock)
    sock.close()
    return found
tried(bound)
tried(bound)
"""
    assert script(town.frontend, body, town.far, 7000, town.frontend.ip) == 403
    assert script(town.frontend, body, town.users.ip, 7000, town.frontend.ip) == 403
    assert script(town.intruder, body, town.users.ip, 7200, town.intruder.ip) in REFUSED


def test_the_proxys_own_port_serves_nobody(town: Town) -> None:
    status = town.agent.admin("/status")
    assert status is not None
    ports = {each["name"]: each["proxy_port"] for each in status["datapath"]["namespaces"]}
    port = ports[town.frontend.netns]
    for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"):
        assert asks(town.frontend, host, port) in REFUSED


def test_link_local_addresses_are_no_way_round(town: Town) -> None:
    body = """
def scoped():
    sock = socket.socket(socket.AF_INET6)
    sock.settimeout(5)
    sock.connect((sys.argv[1], int(sys.argv[2]), 0, socket.if_nametoindex("eth0")))
    return status(sock)
tried(scoped)
"""
    users, free = link_local(town.users), link_local(town.free)
    assert script(town.frontend, body, free, 7000) in (403, *REFUSED)
    assert script(town.intruder, body, free, 7000) == 200
    assert script(town.intruder, body, users, 7200) in REFUSED
    assert script(town.jailed, body, free, 7000) in REFUSED


@contextmanager
def extra_address(pod: Pod, address: str, device: str) -> Iterator[None]:
    assert pod.run(["ip", "address", "add", address, "dev", device, "nodad"]).returncode == 0
    try:
        yield
    finally:
        pod.run(["ip", "address", "del", address, "dev", device])


def test_another_pods_address_does_not_give_its_identity(town: Town) -> None:
    """A pod may administer its own namespace; the neighbours believe what it says there."""
    body = """
def pretending():
    sock = socket.socket(socket.AF_INET6)
    sock.settimeout(5)
    sock.bind((sys.argv[1], 0))
    sock.connect((sys.argv[2], 7000, 0, socket.if_nametoindex("eth0")))
    return status(sock, ok)
tried(pretending)
"""
    frontend = town.frontend
    with extra_address(town.intruder, f"{frontend.ip6}/64", "eth0"):
        frontend.run(["ip", "link", "set", "eth0", "down"])
        try:
            town.users.run(["ip", "neigh", "flush", "all"])
            for host in (town.users.ip6, link_local(town.users)):
                assert script(town.intruder, body, frontend.ip6, host) in REFUSED
        finally:
            frontend.run(["ip", "link", "set", "eth0", "up"])
            gateway = str(NODE_V6.ip)
            frontend.run(["ip", "-6", "address", "add", f"{frontend.ip6}/64", "dev", "eth0"])
            frontend.run(["ip", "route", "replace", "default", "via", str(NODE_V4.ip)])
            frontend.run(["ip", "-6", "route", "replace", "default", "via", gateway])


def answers(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
        return connection.recv(65536) != b""
    except ConnectionError:
        return False


def test_a_rule_that_moves_to_another_port_takes_connections_along(town: Town) -> None:
    """Open connections lose what the rule gave them, although as many ports are open as before."""
    policy = town.node.directory / "policies" / "town.yaml"
    connection = town.node.outside.connect(town.users.ip, 7200)
    with connection:
        assert answers(connection)
        policy.write_text(POLICIES.replace('"7200"', '"7201"'))
        town.taken()
        try:
            assert not answers(connection)
        finally:
            policy.write_text(POLICIES)
            town.taken()


LISTENER = """
import socket, sys
host, port = sys.argv[1:]
listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
if ":" in host:
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
listener.bind((host, int(port)))
listener.listen()
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def listening(place: Place, host: str, port: int) -> Iterator[None]:
    """A process of the place listens there; on IPv6 for IPv6 only."""
    process = place.popen(
        [sys.executable, "-c", LISTENER, host, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield
    finally:
        process.stdin.close()
        process.wait()


def reaches(client: Place) -> bool:
    try:
        client.connect("127.0.0.1", 7100).close()
    except PermissionError:
        return False
    return True


def test_a_service_cannot_take_anothers_port_identity(town: Town, services: dict[str, Pod]) -> None:
    """One listens on 0.0.0.0, the other on [::] for IPv6 only: the kernel allows both."""
    clients = (services["web"], services["other"], town.node.host)
    with listening(services["store"], "0.0.0.0", 7100):
        assert [reaches(each) for each in clients] == [True, False, False]
        with listening(services["other"], "::", 7100):
            assert [reaches(each) for each in clients] == [True, False, False]
        assert [reaches(each) for each in clients] == [True, False, False]


def test_a_deep_cgroup_is_covered_or_said_to_be_unplaced(
    town: Town, services: dict[str, Pod]
) -> None:
    folder = town.node.cgroup.joinpath("deep", *"abcdefgh")
    folder.mkdir(parents=True)
    deep = Pod(
        "deep",
        labels={"app": "store"},
        netns=town.node.netns,
        cgroup=folder,
        annotations={"l7proxy.io/cgroup": cgroups.path_below_mount(folder)},
    )
    town.node.workloads.append(deep)
    status = town.taken()
    with deep, listening(deep, "0.0.0.0", 7100):
        covered = not reaches(services["other"])
    assert covered or "default/deep" in status["datapath"]["unplaced"]
