"""However a socket is made, connected and handed on, its requests are judged.

Seen to fail: with ``SK_PASS`` in the place of ``refuse()`` in bpf/arrival.c every test here, but
for sockets whose client's end is enrolled as usual.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from l7proxy.demo.places import Place
from l7proxy.demo.pods import Node
from tests.datapath.scripts import until
from tests.kernel_road.recorder import Record, Recorder
from tests.kernel_road.test_bypass import ALLOWED, DENIED, arrived, tried
from tests.kernel_road.town import POLICY, PORT, RULES, WAYS, Attack, TendedCovered, Town

pytestmark = pytest.mark.needs_ebpf

IPPROTO_MPTCP = 262
FAST_OPEN = 0x1 | 0x2 | 0x4 | 0x200 | 0x400
"""Client and server, without cookies, for listeners that did not ask for it."""


@pytest.fixture
def fast_open(town: Town) -> Iterator[None]:
    """TCP Fast Open is on at all ends."""
    set_fast_open(town, FAST_OPEN)
    yield
    set_fast_open(town, 1)


def set_fast_open(town: Town, value: int) -> None:
    for place in (town.server, town.client, town.far):
        script = f"echo {value} >/proc/sys/net/ipv4/tcp_fastopen"
        assert place.run(["sh", "-c", script]).returncode == 0


def opened_fast(town: Town) -> int:
    """How many connections began with data, as the server's kernel counts them."""
    names, numbers = town.server.run(["cat", "/proc/net/netstat"]).stdout.splitlines()[:2]
    return int(dict(zip(names.split(), numbers.split(), strict=True))["TCPFastOpenPassive"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("behind", [False, True])
def test_fast_open(town: Town, fast_open: None, way: str, behind: bool) -> None:
    before = opened_fast(town)
    tried(town, way, "fast_open", behind=behind)
    assert opened_fast(town) == before + 2


def test_fast_open_by_option(town: Town, fast_open: None) -> None:
    before = opened_fast(town)
    tried(town, "tcp", "fast_open_connect")
    assert opened_fast(town) == before + 2
    with town.attack("redirect", "fast_open_connect", parcel=DENIED) as attack:
        assert attack.result() == "refused"


def test_mptcp(town: Town) -> None:
    tried(town, "tcp", "mptcp")
    with town.attack("redirect", "mptcp", parcel=DENIED) as attack:
        assert attack.result() == "refused"


@pytest.mark.parametrize("way", WAYS)
def test_socket_that_connects_again(town: Town, way: str) -> None:
    tried(town, way, "reconnect", 4)


def made_in(town: Town, place: Place, *, connected: bool) -> socket.socket:
    if connected:
        return place.connect(town.server.ip, PORT)
    return place.tcp_socket(town.server.ip)


@pytest.fixture(scope="module")
def uncovered(town: Town) -> Iterator[Place]:
    """A place in the client's namespace, but in a cgroup without programs."""
    with Place("uncovered", netns=town.client.netns, cgroup=town.far.cgroup) as place:
        yield place


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("maker", ["uncovered", "covered"])
def test_socket_that_another_made(
    town: Town, uncovered: Place, maker: str, connected: bool
) -> None:
    """Made where no program is and handed to a covered process, and the other way round."""
    places: list[Place] = [uncovered, town.client]
    if maker == "covered":
        places.reverse()
    for parcel in (ALLOWED, DENIED):
        arguments = {"host": town.server.ip, "port": PORT, "parcel": parcel}
        with (
            town.recorder() as server,
            made_in(town, places[0], connected=connected) as sock,
            Attack(places[1], "passed_on", connected=connected, **arguments) as attack,
        ):
            attack.says("ready")
            attack.go([sock.fileno()])
            sock.close()
            attack.result()
            records = server.ended(1)
        assert_judged(records, parcel)


@pytest.mark.parametrize("first", ["uncovered", "covered"])
def test_process_that_moves_with_its_socket(town: Town, uncovered: Place, first: str) -> None:
    """The socket belongs to the cgroup in which it was made."""
    places: list[Place] = [uncovered, town.client]
    if first == "covered":
        places.reverse()
    for parcel in (ALLOWED, DENIED):
        arguments = {"host": town.server.ip, "port": PORT, "parcel": parcel}
        with town.recorder() as server, Attack(places[0], "moved", **arguments) as attack:
            attack.says("made")
            assert places[1].cgroup is not None
            (places[1].cgroup / "cgroup.procs").write_text(str(attack.process.pid))
            attack.go()
            attack.result()
            records = server.ended(1)
        assert_judged(records, parcel)


def assert_judged(records: list[Record], parcel: str) -> None:
    assert arrived(records, "/ok-before")
    assert arrived(records, parcel) == (parcel == ALLOWED)


@pytest.mark.parametrize("way", WAYS)
def test_request_that_waits_to_be_accepted(town: Town, way: str) -> None:
    """No program runs for bytes that come before accept(); they are judged when they are read."""
    for parcel in (ALLOWED, DENIED):
        with (
            town.recorder(accepting=False) as server,
            town.attack(way, "early", parcel=parcel) as attack,
        ):
            attack.says("sent")
            if way == "tcp":
                until(lambda: town.unread() > len(ALLOWED))
            server.accepting.set()
            attack.result()
            records = server.ended(1)
        assert arrived(records, parcel) == (parcel == ALLOWED)


@pytest.mark.parametrize("way", WAYS)
def test_server_that_is_woken_by_data(town: Town, way: str) -> None:
    """Its socket is only made when the first bytes are there."""
    deferred = [(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)]
    for parcel in (ALLOWED, DENIED):
        with (
            town.recorder(options=deferred) as server,
            town.attack(way, "one_segment", parcel=parcel) as attack,
        ):
            attack.result()
            assert_judged(server.ended(1), parcel)


@pytest.mark.parametrize("way", WAYS)
def test_connection_made_from_a_cookie(town: Town, way: str) -> None:
    """The server's kernel remembers nothing of the SYN."""
    set_cookies(town, 2)
    try:
        tried(town, way, "one_segment")
    finally:
        set_cookies(town, 1)


def set_cookies(town: Town, value: int) -> None:
    script = f"echo {value} >/proc/sys/net/ipv4/tcp_syncookies"
    assert town.server.run(["sh", "-c", script]).returncode == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("host", ["{0}", "::ffff:{1}"])
def test_ip6(town: Town, way: str, host: str) -> None:
    host = host.format(town.server.ip6, town.server.ip)
    for parcel in (ALLOWED, DENIED):
        with (
            town.recorder(host="" if "ffff" in host else host) as server,
            town.attack(way, "one_segment", parcel=parcel, host=host) as attack,
        ):
            attack.result()
            assert_judged(server.ended(1), parcel)


def test_listener_that_speaks_mptcp(compiled: Path) -> None:
    """Made before anybody could refuse it. Its sockets cannot be judged, so it has the proxy."""
    with Node("mptcp", compiled) as node:
        town = Town(node, None)
        with town.server.tcp_socket(town.server.ip, protocol=IPPROTO_MPTCP) as listener:
            listener.bind((town.server.ip, PORT))
            listener.listen()
            with Recorder(listener.dup()) as server:
                town.apply(RULES)
                for way, protocol in (("tcp", IPPROTO_MPTCP), ("tcp", 0), ("redirect", 0)):
                    with town.covered.counted() as risen, town.connect(way, protocol=protocol):
                        pass
                    assert risen["ingress_steered"] == 1
                assert server.records == []
        town.covered.end()


def test_services_on_loopback(compiled: Path) -> None:
    """Known by their cgroups, in one namespace; a process without one is not covered."""
    with Node("services", compiled) as node:
        server = node.add_service("server")
        clients = (node.add_service("client"), Place("other", netns=node.netns))
        covered = TendedCovered(node)
        covered.start()
        covered.apply(POLICY % f"http: {RULES}")
        with Recorder(server.listen("127.0.0.1", PORT)) as recorder, covered.counted() as risen:
            for number, client in enumerate(clients):
                for parcel in (ALLOWED, DENIED):
                    target = f"{parcel}{number}"
                    where = {"host": "127.0.0.1", "port": PORT, "parcel": target}
                    with Attack(client, "one_segment", **where) as attack:
                        attack.result()
                    assert arrived(recorder.ended(1), target) == (parcel == ALLOWED)
                client.close()
        assert risen["connections_kernel"] == 4
        assert risen["requests_redirected"] == 3
        covered.end()
