"""Each end of a connection finds its own other end and nobody else's, or stays on TCP.

Seen to fail: with ``client_seq`` and ``server_seq`` left 0 in bpf/connection.c, so that the
client's address and port alone name a connection, the tests with one tuple everywhere.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from l7proxy.demo.places import Place
from l7proxy.demo.pods import Node
from tests.datapath.covered import PATIENCE, Covered, accepted, received

pytestmark = pytest.mark.needs_ebpf

REUSE = [(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)]
RESET_ON_CLOSE = [(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))]
SOURCE_PORT, SERVER_PORT = 21000, 21001
ENROLLED = {"client_enrolled", "paired", "short_circuit_bytes", "tcp_bytes"}
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(scope="module")
def covered(node: Node) -> Iterator[Covered]:
    for name in ("a", "b", "off"):
        node.add_pod(name)
    node.workloads[2].annotations["l7proxy.io/short-circuit"] = "off"
    made = Covered(node)
    made.start()
    made.apply("")
    yield made
    made.end()


def pair(
    stack: contextlib.ExitStack,
    client: Place,
    server: Place,
    host: str,
    port: int = 0,
    source: tuple[str, int] | None = None,
) -> Pair:
    with server.listen(host, port) as listener:
        where = listener.getsockname()[1]
        near = client.connect(host, where, source=source, options=REUSE if source else ())
        near = stack.enter_context(near)
        far = stack.enter_context(accepted(listener))
    near.settimeout(PATIENCE)
    near.setsockopt(*RESET_ON_CLOSE[0])  # its port is free again at once
    return near, far


def assert_not_confused(pairs: list[Pair], rounds: int = 3) -> None:
    """All write before any reads, so that bytes on a wrong way would be there to be found."""
    for turn in range(rounds):
        for number, (near, far) in enumerate(pairs):
            near.sendall(b"%8d client %3d" % (number, turn))
            far.sendall(b"%8d server %3d" % (number, turn))
        for number, (near, far) in enumerate(pairs):
            assert received(far, 19) == b"%8d client %3d" % (number, turn)
            assert received(near, 19) == b"%8d server %3d" % (number, turn)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_one_tuple_in_two_namespaces(covered: Covered, host: str) -> None:
    a, b, _ = covered.node.workloads
    with covered.counted() as risen:
        for _ in range(20):
            with contextlib.ExitStack() as stack:
                pairs = [
                    pair(stack, pod, pod, host, SERVER_PORT, (host, SOURCE_PORT)) for pod in (a, b)
                ]
                assert_not_confused(pairs)
    assert risen["paired"] == 40
    assert risen["short_circuit_bytes"] == 40 * 6 * 19
    assert "tcp_bytes" not in risen


def test_one_source_port_to_many_servers(covered: Covered) -> None:
    pod = covered.node.workloads[0]
    source = "127.0.0.1", SOURCE_PORT
    with covered.counted() as risen, contextlib.ExitStack() as stack:
        pairs = [
            pair(stack, pod, pod, f"127.0.0.{number}", SERVER_PORT, source)
            for number in range(1, 60)
        ]
        assert_not_confused(pairs)
    assert risen["paired"] == 59
    assert "tcp_bytes" not in risen


def test_address_talking_to_itself(covered: Covered) -> None:
    """A pod's own address, and one tuple again in the next round: nothing old is found."""
    a, b, _ = covered.node.workloads
    with covered.counted() as risen:
        for _ in range(20):
            with contextlib.ExitStack() as stack:
                pairs = [pair(stack, pod, pod, pod.ip, 0, (pod.ip, SOURCE_PORT)) for pod in (a, b)]
                assert_not_confused(pairs)
    assert risen["paired"] == 40


def test_many_connections_at_once(covered: Covered) -> None:
    a, b, _ = covered.node.workloads
    with covered.counted() as risen, contextlib.ExitStack() as stack:
        pairs = [pair(stack, a, b, host) for host in (b.ip, b.ip6) * 100]
        assert_not_confused(pairs)
    assert risen["paired"] == 200
    assert "tcp_bytes" not in risen


def test_ip4_by_ip6_sockets(covered: Covered) -> None:
    """The mapped form of an address is the same address."""
    a, b, _ = covered.node.workloads
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(b.tcp_socket("::"))
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", 0))
        listener.listen()
        pairs = []
        with covered.counted() as risen:
            for host in (b.ip, f"::ffff:{b.ip}", b.ip6):
                near = stack.enter_context(a.connect(host, listener.getsockname()[1]))
                pairs.append((near, stack.enter_context(accepted(listener))))
            assert_not_confused(pairs)
        assert risen["paired"] == 3
        assert "tcp_bytes" not in risen


def test_sockets_outside_the_covered_cgroup_are_left_alone(covered: Covered) -> None:
    a, b, _ = covered.node.workloads
    elsewhere = covered.node.outside.cgroup
    with (
        Place("stray client", netns=a.netns, cgroup=elsewhere) as client,
        Place("stray server", netns=b.netns, cgroup=elsewhere) as server,
        contextlib.ExitStack() as stack,
    ):
        with covered.counted() as risen:
            assert_not_confused([pair(stack, client, b, b.ip), pair(stack, client, server, b.ip)])
        assert risen["connections_splice"] == 2
        assert not ENROLLED & set(risen)
        with covered.counted() as risen:
            near, far = pair(stack, a, server, b.ip)
            assert_not_confused([(near, far)])
            assert spliced(far, near) == b"splice"
        assert risen["unpaired_messages"] >= 3
        assert "paired" not in risen
        assert "short_circuit_bytes" not in risen


def test_annotation_leaves_a_workloads_sockets_alone(covered: Covered) -> None:
    a, _, off = covered.node.workloads
    with contextlib.ExitStack() as stack:
        with covered.counted() as risen:
            pairs = [pair(stack, off, a, a.ip), pair(stack, off, off, "127.0.0.1")]
            assert_not_confused(pairs)
            assert spliced(*pairs[0]) == b"splice"
            assert spliced(*pairs[1]) == b"splice"
        assert risen["connections_splice"] == 2
        assert not ENROLLED & set(risen)
        with covered.counted() as risen:
            near, far = pair(stack, a, off, off.ip)
            assert_not_confused([(near, far)])
            assert spliced(far, near) == b"splice"
        assert "paired" not in risen
        assert "short_circuit_bytes" not in risen


def test_annotation_concerns_connections_made_later(covered: Covered) -> None:
    a, b, _ = covered.node.workloads
    with contextlib.ExitStack() as stack:
        before = pair(stack, a, b, b.ip)
        assert_not_confused([before])
        b.annotations["l7proxy.io/short-circuit"] = "off"
        covered.apply()
        try:
            later = pair(stack, a, b, b.ip)
            with covered.counted() as risen:
                assert_not_confused([before])
            assert risen["short_circuit_bytes"] == 6 * 19
            with covered.counted() as risen:
                assert_not_confused([later])
            assert "short_circuit_bytes" not in risen
        finally:
            del b.annotations["l7proxy.io/short-circuit"]
            covered.apply()
        with covered.counted() as risen:
            assert_not_confused([pair(stack, a, b, b.ip)])
        assert risen["paired"] == 1


def spliced(reader: socket.socket, writer: socket.socket) -> bytes:
    """What splice(2) moves from the reader's socket, which enrolled ones cannot do."""
    writer.sendall(b"splice")
    out, into = os.pipe()
    try:
        reader.setblocking(True)
        return os.read(out, os.splice(reader.fileno(), into, 6))
    finally:
        os.close(out)
        os.close(into)
