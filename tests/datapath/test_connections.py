"""Sockets are listed as the kernel has them, and exactly the one that was meant is reset.

Seen to fail: with ``_SOCKET_ID`` reading the cookie in front of the interface; with ``reset``
leaving cookie or interface out.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from l7proxy.datapath import connections, netns
from l7proxy.datapath.connections import OpenSocket
from l7proxy.datapath.transparent import socket_cookie
from l7proxy.demo.places import Place
from l7proxy.demo.pods import NODE_V4, NODE_V6, Node, Pod
from tests.datapath.covered import PATIENCE, accepted
from tests.support.waiting import eventually

pytestmark = pytest.mark.needs_ebpf

MPTCP = 262
HOSTS = {"ip4": str(NODE_V4.ip), "ip6": str(NODE_V6.ip), "loopback": "127.0.0.1"}

Line = tuple[int, bytes, int, bytes, int, int, int]


@pytest.fixture
def inside(node: Node) -> Iterator[None]:
    """The test is in the node's namespace."""
    descriptor = netns.open_named(node.netns)
    try:
        with netns.entered(descriptor):
            yield
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def pod(node: Node) -> Pod:
    return node.add_pod("pod")


def listed() -> Counter[Line]:
    return Counter(
        (
            each.family,
            each.raw_local,
            each.local.port,
            each.raw_remote,
            each.remote.port,
            each.state,
            each.inode,
        )
        for each in connections.sockets()
    )


def in_proc() -> Counter[Line]:
    """The same from /proc/net/tcp, which prints the words of an address in host byte order."""
    found: Counter[Line] = Counter()
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            ends: list[tuple[bytes, int]] = []
            for text in fields[1:3]:
                where, _, port = text.partition(":")
                words = [int(where[at : at + 8], 16) for at in range(0, len(where), 8)]
                ends.append((struct.pack(f"={len(words)}I", *words), int(port, 16)))
            state = int(fields[3], 16)
            if state not in (connections.TIME_WAIT, 7):
                found[family, *ends[0], *ends[1], state, int(fields[9])] += 1
    return found


def one(cookie: int) -> OpenSocket:
    (found,) = connections.sockets(cookies={cookie})
    return found


def of(sock: socket.socket) -> OpenSocket:
    return one(socket_cookie(sock))


def is_reset(sock: socket.socket) -> bool:
    sock.settimeout(PATIENCE)
    try:
        sock.recv(1)
    except (ConnectionResetError, ConnectionAbortedError):  # the other end, and the one reset
        return True
    return False


def test_listing_is_the_same_as_in_proc(node: Node, pod: Pod, inside: None) -> None:
    """Listening, waiting to be accepted, open, half closed, and IPv4 on an IPv6 socket."""
    with contextlib.ExitStack() as stack:
        keep = stack.enter_context
        for number, host in enumerate(HOSTS.values()):
            listener = keep(node.host.listen(host, 7000 + number))
            for _ in range(3):
                keep(node.host.connect(host, 7000 + number))
            keep(pod.connect(host, 7000 + number)) if host != "127.0.0.1" else None
            keep(accepted(listener)).shutdown(socket.SHUT_WR)
        both = keep(socket.create_server(("::", 7100), family=socket.AF_INET6, dualstack_ipv6=True))
        mapped = keep(node.host.connect(HOSTS["ip4"], 7100))
        server = keep(accepted(both))
        closing = keep(node.host.connect(HOSTS["ip6"], 7100))
        keep(accepted(both)).close()
        eventually(lambda: listed() == in_proc(), PATIENCE)
        states = Counter(each.state for each in connections.sockets())
        assert {1, 4, 8, 10} <= states.keys() or {1, 5, 8, 10} <= states.keys(), states
        found, other = of(server), of(mapped)
        assert (found.family, other.family) == (socket.AF_INET6, socket.AF_INET)
        assert found.local == other.remote
        assert found.remote == other.local
        assert isinstance(found.local.address, IPv4Address)
        assert isinstance(of(closing).remote.address, IPv6Address)
        assert {each.state for each in connections.sockets(connections.LISTENING)} == {10}
        assert [each.cookie for each in connections.sockets(cookies={found.cookie, 2**60})] == [
            found.cookie
        ]


def test_long_lists_are_whole(node: Node, inside: None) -> None:
    """Longer than the kernel sends at once."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(1500)]
        cookies = {socket_cookie(each) for each in made}
        found = [each for each in connections.sockets() if each.cookie in cookies]
        assert len(found) == len(made)
        assert {each.local.port for each in found} == {each.getsockname()[1] for each in made}


def test_cgroup_is_where_the_socket_was_made(node: Node, pod: Pod) -> None:
    """And not of who has it: every socket here is the test's own. Accepted ones are where their
    listener is."""
    with (
        pod.listen(pod.ip, 7000) as listener,
        node.host.connect(pod.ip, 7000) as client,
        accepted(listener) as server,
    ):
        for place, socks in ((pod, (listener, server)), (node.host, (client,))):
            descriptor = netns.open_named(str(place.netns))
            with netns.entered(descriptor):
                inode = Path(str(place.cgroup)).stat().st_ino
                assert {of(each).cgroup for each in socks} == {inode}
            os.close(descriptor)


@contextlib.contextmanager
def pair(node: Node, host: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection, the client's first."""
    with (
        node.host.listen(host, 7200) as listener,
        node.host.connect(host, 7200) as client,
        accepted(listener) as server,
    ):
        yield client, server


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_reset_is_of_that_socket_alone(node: Node, inside: None, host: str) -> None:
    with pair(node, host) as (client, server):
        victim = of(server)
        assert connections.reset([replace(victim, cookie=victim.cookie + 2**40)]) == 0
        client.sendall(b"alive")
        assert server.recv(5) == b"alive"
        assert connections.reset([victim]) == 1
        assert is_reset(client)
        assert is_reset(server)
        assert connections.reset([victim]) == 0


def test_reset_without_a_cookie_goes_by_the_addresses(node: Node, inside: None) -> None:
    with pair(node, "127.0.0.1") as (client, server):
        assert connections.reset([replace(of(server), cookie=0)]) == 1
        assert is_reset(client)


def test_reset_of_ip4_on_an_ip6_socket(node: Node, inside: None) -> None:
    with socket.create_server(("::", 7200), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        client = node.host.connect(HOSTS["ip4"], 7200)
        with client, accepted(both) as server:
            assert connections.reset([of(server)]) == 1
            assert is_reset(client)


def test_reset_of_a_connection_that_nobody_has_accepted(node: Node, inside: None) -> None:
    with node.host.listen("127.0.0.1", 7200), node.host.connect("127.0.0.1", 7200) as client:
        (queued,) = (each for each in connections.sockets() if each.state == 1 and not each.inode)
        assert connections.reset([queued]) == 1
        assert is_reset(client)


def test_reset_of_a_link_local_connection(node: Node, pod: Pod) -> None:
    """Its sockets are bound to an interface."""
    with Place("a", netns=pod.netns, cgroup=pod.cgroup) as place:
        shown = place.run(["ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "link"])
        host = shown.stdout.split()[3].partition("/")[0]
        descriptor = netns.open_named(str(pod.netns))
        with netns.entered(descriptor):
            scope = socket.if_nametoindex("eth0")
            with socket.socket(socket.AF_INET6) as listener:
                listener.bind((host, 7200, 0, scope))
                listener.listen()
                client = node.host.connect(f"{host}%pods", 7200)
                with client, accepted(listener) as server:
                    assert of(server).interface == scope
                    assert connections.reset([of(server)]) == 1
                    assert is_reset(client)
        os.close(descriptor)


def test_protocols_inside_a_listener_are_named(node: Node, inside: None) -> None:
    with socket.create_server(("127.0.0.1", 7300)) as listener:
        assert of(listener).layer == ""
    try:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP)
    except OSError:
        pytest.skip("the kernel has no MPTCP")
    with made:
        made.bind(("127.0.0.1", 7301))
        made.listen()
        (found,) = (e for e in connections.sockets(connections.LISTENING) if e.local.port == 7301)
        assert found.layer == "mptcp"
