"""What the kernel has given up is reset after a while, and nothing else is.

No program runs here: the records are the tests' own. Seen to fail: with ``_is_open`` always true,
what ended by itself takes the place of others; with every reason waiting, what no program holds
stays open; without ``_is_owed`` or ``_ripe``, answers are cut off.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from l7proxy.datapath import libbpf, netns, reaper
from l7proxy.datapath.names import PHASE_BOUNDARY, Doom
from l7proxy.datapath.reaper import Reaper
from l7proxy.datapath.slots import Namespace
from l7proxy.datapath.store import Store
from l7proxy.datapath.transparent import socket_cookie
from l7proxy.demo.pods import Node
from tests.datapath import maps
from tests.datapath.covered import accepted

pytestmark = pytest.mark.needs_ebpf

GRACE = 5.0
PATIENCE = 60.0
MAPS = {
    "exchanges": (
        maps.HASH,
        maps.layout(8),
        maps.layout(
            24,
            [
                ["netns", 0, 8, 1],
                ["ledger", 8, 8, 1],
                ["dead", 16, 1, 1],
                ["answer_lost", 17, 1, 1],
                ["answer_phase", 18, 1, 1],
            ],
        ),
    ),
    "doomed": (
        maps.QUEUE,
        maps.layout(0),
        maps.layout(24, [["exchange", 0, 8, 1], ["netns", 8, 8, 1], ["reason", 16, 4, 1]]),
    ),
}


class Scene:
    """The node's own namespace and a pod's, with connections in each."""

    def __init__(self, node: Node, number: int) -> None:
        self.node = node
        self.store: Store = maps.made(node.bpffs / f"reaper{number}", MAPS)
        self.places = [node.host, node.workloads[0]]
        self.namespaces = [self.namespace(str(each.netns)) for each in self.places]
        self.stack = contextlib.ExitStack()
        self.reaper = Reaper(self.store, self.namespaces, GRACE, PATIENCE)

    def namespace(self, name: str) -> Namespace:
        descriptor = netns.open_named(name)
        return Namespace(name, descriptor, netns.cookie(descriptor))

    def pair(self, place: int = 0) -> tuple[socket.socket, socket.socket]:
        """A connection inside a place: client and server."""
        keep = self.stack.enter_context
        with self.places[place].listen("127.0.0.1", 0) as listener:
            client = keep(self.places[place].connect("127.0.0.1", listener.getsockname()[1]))
            return client, keep(accepted(listener))

    def judge(self, server: socket.socket, place: int = 0, dead: int = 1, **more: int) -> None:
        value = {"netns": self.namespaces[place].cookie, "dead": dead}
        value |= {"answer_phase": PHASE_BOUNDARY, **more}
        self.store.table("exchanges").set(socket_cookie(server), value)

    def doom(
        self, server: socket.socket | int, place: int = 0, reason: Doom = Doom.REFUSED
    ) -> None:
        """As a program does it."""
        cookie = server if isinstance(server, int) else socket_cookie(server)
        number = tuple(Doom).index(reason)
        record = struct.pack("=QQII", cookie, self.namespaces[place].cookie, number, 0)
        push(self.store.table("doomed").fd, record)


def push(queue: int, record: bytes) -> None:
    libbpf.map_update(queue, None, record)


@pytest.fixture(scope="module")
def town(node: Node) -> Node:
    node.add_pod("pod")
    return node


@pytest.fixture
def scene(town: Node) -> Iterator[Scene]:
    made = Scene(town, len(list(town.bpffs.iterdir())))
    with made.stack:
        yield made
    for each in made.namespaces:
        each.close()


def is_open(sock: socket.socket) -> bool:
    """Whether no reset has come; one is there at once on loopback."""
    sock.settimeout(0.2)
    try:
        return sock.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False


def test_the_doomed_are_reset_after_the_grace(scene: Scene) -> None:
    (client, server), (other, bystander) = scene.pair(), scene.pair()
    for each in (server, bystander):
        scene.judge(each, dead=0)
    scene.doom(server)
    scene.reaper.reap(100.0)
    scene.reaper.reap(100.0 + GRACE - 0.1)
    assert is_open(client)
    assert scene.reaper.resets == 0
    scene.reaper.reap(100.0 + GRACE)
    assert not is_open(client)
    assert is_open(other)
    assert scene.reaper.resets == 1
    scene.reaper.reap(200.0)
    assert scene.reaper.resets == 1


def test_each_in_its_namespace(scene: Scene) -> None:
    pairs = [(place, *scene.pair(place)) for place in (0, 1, 1)]
    for place, _, server in pairs[:2]:
        scene.judge(server, place)
        scene.doom(server, place)
    scene.reaper.reap(0.0)
    scene.reaper.reap(GRACE)
    assert [is_open(client) for _, client, _ in pairs] == [False, False, True]
    assert scene.reaper.resets == 2


OWED = 3 << 32 | 2  # three requests, two of them answered


def test_an_owed_answer_is_waited_for(scene: Scene) -> None:
    client, server = scene.pair()
    scene.judge(server, ledger=OWED)
    scene.doom(server)
    for now in (0.0, GRACE, 2 * GRACE, 3 * GRACE):
        scene.reaper.reap(now)
    assert is_open(client)
    scene.judge(server, ledger=3 << 32 | 3)
    scene.reaper.reap(4 * GRACE)
    assert not is_open(client)


@pytest.mark.parametrize(
    ("reason", "more", "end"),
    [
        (Doom.REFUSED, {}, PATIENCE),
        (Doom.REFUSED, {"answer_lost": 1}, GRACE),
        (Doom.REFUSED, {"answer_phase": PHASE_BOUNDARY - 1}, GRACE),
        (Doom.UNANSWERED, {}, GRACE),
    ],
)
def test_waiting_for_an_owed_answer_has_an_end(
    scene: Scene, reason: Doom, more: dict[str, int], end: float
) -> None:
    client, server = scene.pair()
    scene.judge(server, ledger=OWED, **more)
    scene.doom(server, reason=reason)
    for now in range(int(end)):
        scene.reaper.reap(now)
    assert is_open(client)
    for now in (end, end + GRACE):
        scene.reaper.reap(now)
    assert not is_open(client)


def test_what_was_answered_has_to_arrive(scene: Scene) -> None:
    client, server = scene.pair()
    server.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            server.send(bytes(65536))
    scene.judge(server)
    scene.doom(server)
    for now in (0.0, GRACE, 2 * GRACE):
        scene.reaper.reap(now)
    assert scene.reaper.resets == 0
    server.shutdown(socket.SHUT_WR)
    while client.recv(1 << 20):
        pass
    scene.reaper.reap(3 * GRACE)
    assert scene.reaper.resets == 1


@pytest.mark.parametrize("reason", [Doom.UNDECIDED, Doom.UNTOLD])
def test_who_was_told_nothing_is_not_waited_for(scene: Scene, reason: Doom) -> None:
    """Also without any state: then no program holds the connection."""
    client, server = scene.pair()
    scene.doom(server, reason=reason)
    scene.reaper.reap(0.0)
    assert not is_open(client)
    assert scene.reaper.resets == 1


def test_who_ended_by_itself_is_forgotten(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes nobody's place among those that one round may reset."""
    monkeypatch.setattr(reaper, "_RESETS", 1)
    for cookie in range(2**40, 2**40 + 100):
        scene.doom(cookie)
    client, server = scene.pair()
    scene.judge(server)
    scene.doom(server)
    scene.reaper.reap(0.0)
    scene.reaper.reap(GRACE)
    assert not is_open(client)


def test_a_round_is_bounded_and_the_rest_has_the_next(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_TAKEN", 2), ("_RESETS", 2), ("_NAMESPACES", 1)):
        monkeypatch.setattr(reaper, name, value)
    for place in (0, 0, 0, 1):
        _, server = scene.pair(place)
        scene.judge(server, place)
        scene.doom(server, place)
    counts = []
    for second in range(5):
        scene.reaper.reap(second * GRACE)
        counts.append(scene.reaper.resets)
    assert counts == [0, 2, 3, 4, 4]


def test_namespaces_that_are_covered_no_more_are_left_alone(scene: Scene) -> None:
    client, server = scene.pair(1)
    scene.judge(server, 1)
    scene.doom(server, 1)
    scene.reaper.reap(0.0)
    scene.namespaces.pop().close()
    scene.reaper.reap(GRACE)
    assert is_open(client)


def test_what_an_agent_before_has_taken_is_carried_out(scene: Scene) -> None:
    (client, server), (other, alive) = scene.pair(), scene.pair()
    scene.judge(server)
    scene.judge(alive, dead=0)
    successor = Reaper(scene.store, scene.namespaces, GRACE, PATIENCE)
    for now in (0.0, GRACE):
        successor.reap(now)
    assert not is_open(client)
    assert is_open(other)
    assert successor.resets == 1


def test_a_failure_is_said_and_keeps_nobody_else(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [scene.pair(place) for place in (0, 1)]
    for place, (_, server) in enumerate(pairs):
        scene.judge(server, place)
        scene.doom(server, place)
    entered = netns.entered

    def fails(descriptor: int | None) -> contextlib.AbstractContextManager[None]:
        if descriptor == scene.namespaces[0].descriptor:
            raise OSError(1, "not allowed")
        return entered(descriptor)

    monkeypatch.setattr(netns, "entered", fails)
    scene.reaper.reap(0.0)
    with pytest.raises(OSError, match="not allowed"):
        scene.reaper.reap(GRACE)
    assert [is_open(client) for client, _ in pairs] == [True, False]
    scene.reaper.reap(2 * GRACE)


def test_without_a_kernel_road_there_is_nothing_to_do(scene: Scene) -> None:
    idle = Reaper(Store(scene.store.folder, {}), scene.namespaces, GRACE, PATIENCE)
    idle.reap(0.0)
    assert idle.resets == 0


def test_a_queue_gives_what_was_put_in_until_it_is_empty(tmp_path: object) -> None:
    queue = libbpf.map_create(maps.QUEUE, "queue", 0, 8, 4)
    try:
        for number in range(3):
            push(queue, struct.pack("=Q", number))
        taken = [libbpf.queue_pop(queue, 8) for _ in range(4)]
        assert taken == [struct.pack("=Q", 0), struct.pack("=Q", 1), struct.pack("=Q", 2), None]
    finally:
        os.close(queue)
    with pytest.raises(OSError, match="cannot read a queue"):
        libbpf.queue_pop(queue, 8)
