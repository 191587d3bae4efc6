"""What would carry bytes past the programs is refused at the socket, everything else is not.

Seen to fail: without ``on_sock_create`` and ``on_setsockopt`` attached to the cgroup every
refusal here is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
import sys
import threading
from collections.abc import Iterator

import pytest

from l7proxy.demo.pods import Node
from tests.datapath.covered import PATIENCE, Covered, accepted, received

pytestmark = pytest.mark.needs_ebpf

IPPROTO_MPTCP = 262
SO_ZEROCOPY = 60
TCP_FASTOPEN_CONNECT = 30
TCP_ULP = 31
TCP_MD5SIG = 14
TCP_CONGESTION = 13
MSG_FASTOPEN = 0x20000000
NOBODY_BUT_A = """
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: b}
spec:
  endpointSelector: {matchLabels: {app: b}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: a}}]
"""


@pytest.fixture(scope="module")
def covered(node: Node) -> Iterator[Covered]:
    for name in ("a", "b", "c"):
        node.add_pod(name)
    made = Covered(node)
    made.start()
    made.apply(NOBODY_BUT_A)
    yield made
    made.end()


@pytest.fixture
def listener(covered: Covered) -> Iterator[socket.socket]:
    b = covered.node.workloads[1]
    with b.listen(b.ip, 0) as made:
        yield made


@pytest.mark.parametrize("host", ["10.0.0.1", "fd00::1"])
def test_mptcp_is_refused(covered: Covered, host: str) -> None:
    a = covered.node.workloads[0]
    with covered.counted() as risen, pytest.raises(PermissionError):
        a.tcp_socket(host, protocol=IPPROTO_MPTCP)
    assert risen.items() >= {"mptcp_refused": 1}.items()
    a.tcp_socket(host).close()
    covered.node.outside.tcp_socket(host, protocol=IPPROTO_MPTCP).close()


def test_mptcp_from_far_is_judged_as_tcp(covered: Covered, listener: socket.socket) -> None:
    outside = covered.node.outside
    with covered.counted() as risen, pytest.raises(ConnectionRefusedError):
        outside.connect(*listener.getsockname(), protocol=IPPROTO_MPTCP)
    assert risen.items() >= {"server_refused": 1}.items()


@pytest.mark.parametrize(
    ("level", "name", "value"),
    [
        (socket.SOL_SOCKET, SO_ZEROCOPY, struct.pack("i", 1)),
        (socket.IPPROTO_TCP, TCP_ULP, b"tls"),
        (socket.IPPROTO_TCP, socket.TCP_FASTOPEN, struct.pack("i", 5)),
        (socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, struct.pack("i", 1)),
    ],
)
def test_options_that_go_past_the_programs_are_refused(
    covered: Covered, level: int, name: int, value: bytes
) -> None:
    a = covered.node.workloads[0]
    with a.tcp_socket(a.ip) as sock, covered.counted() as risen, pytest.raises(PermissionError):
        sock.setsockopt(level, name, value)
    assert risen.items() >= {"sockopt_refused": 1}.items()


@pytest.mark.parametrize(
    ("level", "name", "value"),
    [
        (socket.SOL_SOCKET, socket.SO_RCVBUF, 8192),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3)),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, TCP_CONGESTION, b"reno"),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000),
        (socket.IPPROTO_IP, socket.IP_TOS, 8),
        # The refused options' numbers mean something else on other levels.
        (socket.IPPROTO_IP, 30, 1),
        (socket.SOL_SOCKET, 23, 1),
        (socket.SOL_SOCKET, 31, b""),
    ],
)
def test_other_options_do_what_they_did(
    covered: Covered, level: int, name: int, value: int | bytes
) -> None:
    def outcome(sock: socket.socket) -> tuple[int, int | bytes]:
        try:
            sock.setsockopt(level, name, value)
        except OSError as error:
            return error.errno or 0, b""
        with contextlib.suppress(OSError):
            return 0, sock.getsockopt(level, name, 16)
        return 0, b""

    a = covered.node.workloads[0]
    with covered.node.outside.tcp_socket(a.ip) as outside:
        usual = outcome(outside)
    with a.tcp_socket(a.ip) as inside, covered.counted() as risen:
        assert outcome(inside) == usual
    assert not risen


LONG = """
import socket, struct
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group, interface = socket.inet_aton("239.1.1.1"), socket.inet_aton("127.0.0.1")
sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + interface)
for sources in 2, 1100, 4000, 6000:
    value = group + interface + struct.pack("II", 1, sources)
    value += b"".join(socket.inet_aton(f"10.1.{n >> 8}.{n & 255}") for n in range(sources))
    try:
        print(sources, sock.setsockopt(socket.IPPROTO_IP, 41, value))
    except OSError as error:
        print(sources, error)
"""


def test_long_option_values_reach_the_kernel_whole(covered: Covered) -> None:
    """More than a page, which is not copied for the program: a list of multicast sources."""
    said = []
    for place in (covered.node.workloads[0], covered.node.outside):
        allow = "echo 5000 >/proc/sys/net/ipv4/igmp_max_msf"
        assert place.run(["sh", "-c", allow]).returncode == 0
        said.append(place.run([sys.executable, "-I", "-c", LONG]).stdout)
    assert said[0] == said[1]
    assert "4000 None" in said[0]
    assert "6000 [Errno" in said[0]


def test_fast_open_send_is_still_judged(covered: Covered, listener: socket.socket) -> None:
    a, b, c = covered.node.workloads
    where = listener.getsockname()
    with a.tcp_socket(b.ip) as sock, covered.counted() as risen:
        sock.settimeout(None)
        assert sock.sendto(b"early", MSG_FASTOPEN, where) == 5
        with accepted(listener) as far:
            assert received(far, 5) == b"early"
            sock.sendall(b"later")
            assert received(far, 5) == b"later"
    assert risen["connections_splice"] == 1
    with c.tcp_socket(b.ip) as sock, pytest.raises(PermissionError):
        sock.sendto(b"early", MSG_FASTOPEN, where)
    with covered.node.outside.tcp_socket(b.ip) as sock, covered.counted() as risen:
        sock.settimeout(None)
        with pytest.raises(ConnectionRefusedError):
            sock.sendto(b"early", MSG_FASTOPEN, where)
    assert risen.items() >= {"server_refused": 1}.items()


def test_send_while_connecting_is_still_judged(covered: Covered, listener: socket.socket) -> None:
    a, b, _ = covered.node.workloads
    with a.tcp_socket(b.ip) as sock, covered.counted() as risen:
        sock.setblocking(False)
        # The SYN waits for the neighbour's address to be found: time enough to send behind it.
        a.run(["ip", "neigh", "flush", "all"])
        assert sock.connect_ex(listener.getsockname()) in (0, errno.EINPROGRESS)
        sock.setblocking(True)
        thread = threading.Thread(target=sock.sendall, args=(b"early" * 1000,))
        thread.start()
        with accepted(listener) as far:
            assert received(far, 5000) == b"early" * 1000
            thread.join(PATIENCE)
            sock.sendall(b"later")
            assert received(far, 5) == b"later"
    assert risen["connections_splice"] == 1
    assert risen["short_circuit_bytes"] >= 5
    outside = covered.node.outside
    with outside.tcp_socket(b.ip) as sock, covered.counted() as risen:
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
        sock.settimeout(PATIENCE)
        with pytest.raises(ConnectionError):
            sock.sendall(b"early") or received(sock, 1)
    assert risen.items() >= {"server_refused": 1}.items()


def test_reused_socket_is_judged_anew(covered: Covered, listener: socket.socket) -> None:
    """connect() to nowhere ends a connection; the socket's next one is another."""
    a, b, _ = covered.node.workloads
    with a.tcp_socket(b.ip) as sock:
        for number in range(3):
            sock.connect(listener.getsockname())
            with accepted(listener) as far:
                sock.sendall(b"round %d" % number)
                assert received(far, 7) == b"round %d" % number
                far.sendall(b"answer")
                assert received(sock, 6) == b"answer"
                disconnect(sock)


def disconnect(sock: socket.socket) -> None:
    """connect() with AF_UNSPEC, which the socket module does not offer."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.connect(sock.fileno(), struct.pack("H14x", socket.AF_UNSPEC), 16) == 0
