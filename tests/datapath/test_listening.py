"""The map ``listeners`` promises no more than is so: whoever is in it with a count is covered.

No program runs here: what sock_ops would write, the tests write. Seen to fail: with ``_is_seen``
always true, an uncovered socket gets a promise; without the second round of ``_settle``, a socket
that begins to listen while another's entry is taken out has none.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from l7proxy.datapath import connections, listening, netns
from l7proxy.datapath.addresses import packed, unpacked
from l7proxy.datapath.cgroups import Cgroups
from l7proxy.datapath.listening import Listeners
from l7proxy.datapath.names import IDENTITY_CONTESTED, IDENTITY_HOST
from l7proxy.datapath.port import DatapathError
from l7proxy.datapath.slots import Namespace
from l7proxy.datapath.store import Store
from l7proxy.demo import cgroups
from l7proxy.demo.places import Place, stop
from l7proxy.demo.pods import Node, Pod
from l7proxy.workloads.model import Workload
from tests.datapath import maps
from tests.datapath.covered import PATIENCE

pytestmark = pytest.mark.needs_ebpf

MAPS = {
    "cgroups": (maps.HASH, maps.layout(8), maps.layout(8, [["id", 0, 4, 1]])),
    "netns": (maps.HASH, maps.layout(8), maps.layout(4)),
    "listeners": (
        maps.HASH,
        maps.layout(32, [["address", 0, 4, 4], ["netns", 16, 8, 1], ["port", 24, 2, 1]]),
        maps.layout(8, [["identity", 0, 4, 1], ["sockets", 4, 4, 1]]),
    ),
}
POD = 1000
NUMBERS = {"store": 2000, "web": 3000, "inner": 4000}
PORT = 7000


class Scene:
    """A pod, the node's own namespace with services in it, and what has been entered."""

    def __init__(self, node: Node, number: int) -> None:
        self.node = node
        self.pod = next(each for each in node.workloads if each.name == "pod")
        self.services = {each.name: each for each in node.workloads if each.name in NUMBERS}
        self.store: Store = maps.made(node.bpffs / f"listening{number}", MAPS)
        self.namespaces = [self.namespace(self.pod, POD), self.namespace(node.host, 0)]
        for slot, each in enumerate(self.namespaces):
            self.store.table("netns").set(each.cookie, slot)
        self.cover(node.cgroup)

    def namespace(self, place: Place, identity: int) -> Namespace:
        descriptor = netns.open_named(str(place.netns))
        return Namespace(place.netns, descriptor, netns.cookie(descriptor), identity)

    def cover(self, folder: Path) -> None:
        self.cgroups = Cgroups(self.store, folder)
        self.listeners = Listeners(self.store, self.cgroups)
        self.record()

    def record(self) -> list[str]:
        workloads = [
            Workload("default", name, {}, (), cgroup=cgroups.path_below_mount(each.cgroup))
            for name, each in self.services.items()
            if each.cgroup is not None
        ]
        return self.cgroups.record(workloads, lambda each: NUMBERS[each.name])

    def look(self) -> dict[tuple[str, str, int], tuple[int, int]]:
        """What is entered after a look: (identity, sockets) by (place, address, port)."""
        self.listeners.look(self.namespaces)
        return self.entered()

    def comes_to(self, wanted: dict[tuple[str, str, int], tuple[int, int]]) -> None:
        """Who made a socket for the test may have it a moment longer than the test itself."""
        end = time.monotonic() + PATIENCE
        while (found := self.look()) != wanted:
            assert time.monotonic() < end, found
            time.sleep(0.01)

    def entered(self) -> dict[tuple[str, str, int], tuple[int, int]]:
        table = self.store.table("listeners")
        names = {self.namespaces[0].cookie: "pod", self.namespaces[1].cookie: "node"}
        found = {}
        for packed_key in list(table.keys()):
            key = table.key.unpack(packed_key)
            value = table.get(key)
            assert value is not None
            where = names.get(key["netns"], "gone"), str(unpacked(key["address"])), key["port"]
            found[where] = value["identity"], value["sockets"]
        return found

    def write(self, host: str, identity: int, sockets: int, cookie: int | None = None) -> None:
        """As the sock_ops program does, in the pod's namespace."""
        cookie = self.namespaces[0].cookie if cookie is None else cookie
        key = {"address": packed(ip_address(host)), "netns": cookie, "port": PORT}
        self.store.table("listeners").set(key, {"identity": identity, "sockets": sockets})

    def take_out(self, host: str) -> None:
        key = {
            "address": packed(ip_address(host)),
            "netns": self.namespaces[0].cookie,
            "port": PORT,
        }
        assert self.store.table("listeners").delete(key)

    def elsewhere(self, place: Place) -> Place:
        """The namespace of ``place``, in a cgroup that is not covered."""
        return Place("elsewhere", netns=place.netns, cgroup=self.node.outside.cgroup)


@pytest.fixture(scope="module")
def town(node: Node) -> Node:
    node.add_pod("pod")
    for name in ("store", "web"):
        node.add_service(name)
    return node


@pytest.fixture
def scene(town: Node, request: pytest.FixtureRequest) -> Iterator[Scene]:
    made = Scene(town, len(list(town.bpffs.iterdir())))
    yield made
    for each in made.namespaces:
        each.close()


def shared(place: Place, host: str) -> socket.socket:
    """A listener that lets others have its address too."""
    made = place.tcp_socket(host)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((host, PORT))
    made.listen()
    return made


def test_whoever_listens_is_entered_as_who_it_is(scene: Scene) -> None:
    pod, store, host = scene.pod, scene.services["store"], scene.node.host
    with (
        pod.listen(pod.ip, PORT),
        pod.listen("::", PORT + 1),
        store.listen("0.0.0.0", PORT),
        host.listen("127.0.0.1", PORT + 1),
    ):
        assert scene.look() == {
            ("pod", pod.ip, PORT): (POD, 1),
            ("pod", "::", PORT + 1): (POD, 1),
            ("node", "0.0.0.0", PORT): (NUMBERS["store"], 1),
            ("node", "127.0.0.1", PORT + 1): (IDENTITY_HOST, 1),
        }
    scene.comes_to({})


def test_who_is_not_covered_is_not_entered(scene: Scene) -> None:
    with scene.elsewhere(scene.pod) as stray, stray.listen(scene.pod.ip, PORT) as listener:
        assert scene.look() == {}
        scene.cover(cgroups.mount_point())
        assert scene.look() == {("pod", scene.pod.ip, PORT): (POD, 1)}
        scene.cover(scene.node.cgroup)
        assert scene.look() == {}, "another cgroup is covered now"
        listener.close()
    with scene.pod.listen(scene.pod.ip, PORT):
        scene.comes_to({("pod", scene.pod.ip, PORT): (POD, 1)})


def test_what_sock_ops_counted_stays_while_somebody_listens(scene: Scene) -> None:
    with scene.pod.listen(scene.pod.ip, PORT):
        for sockets in (1, 2):
            scene.write(scene.pod.ip, POD, sockets)
            assert scene.look() == {("pod", scene.pod.ip, PORT): (POD, sockets)}
        scene.write(scene.pod.ip, IDENTITY_CONTESTED, 2)
        assert scene.look() == {("pod", scene.pod.ip, PORT): (POD, 2)}
    scene.comes_to({})


def test_entries_of_nobody_are_taken_out(scene: Scene) -> None:
    scene.write(scene.pod.ip, POD, 1)
    scene.write("127.0.0.1", POD, 7)
    scene.write("127.0.0.1", POD, 1, cookie=4711)
    assert scene.look() == {}


def test_entries_of_namespaces_that_are_still_covered_stay(scene: Scene) -> None:
    """An agent that has just taken over does not know them yet."""
    scene.write("127.0.0.1", POD, 1, cookie=4711)
    scene.store.table("netns").set(4711, 9)
    assert scene.look() == {("gone", "127.0.0.1", PORT): (POD, 1)}


def test_an_uncovered_socket_does_not_get_anothers_promise(scene: Scene) -> None:
    """It would be taken for the one that listens on every IPv6 address, and not on IPv4."""
    pod = scene.pod
    with pod.listen("::", PORT), scene.elsewhere(pod) as stray:
        for host in (pod.ip, "0.0.0.0"):
            with stray.listen(host, PORT):
                assert scene.look() == {
                    ("pod", "::", PORT): (POD, 1),
                    ("pod", host, PORT): (POD, 0),
                }
        with stray.listen("::1", PORT + 1):
            assert scene.look() == {("pod", "::", PORT): (POD, 1)}


def test_a_shared_endpoint_promises_nothing_unless_all_are_covered(scene: Scene) -> None:
    pod = scene.pod
    with shared(pod, pod.ip):
        with scene.elsewhere(pod) as stray, shared(stray, pod.ip):
            for sockets in (1, 2):
                scene.write(pod.ip, POD, sockets)
                assert scene.look() == {("pod", pod.ip, PORT): (POD, 0)}
        scene.comes_to({("pod", pod.ip, PORT): (POD, 1)})
        with shared(pod, pod.ip):
            assert scene.look() == {("pod", pod.ip, PORT): (POD, 2)}


def test_two_workloads_at_one_endpoint_are_contested(scene: Scene) -> None:
    where = ("node", "127.0.0.1", PORT)
    with shared(scene.services["store"], "127.0.0.1"):
        with shared(scene.services["web"], "127.0.0.1"):
            assert scene.look() == {where: (IDENTITY_CONTESTED, 2)}
        scene.comes_to({where: (NUMBERS["store"], 2)})


def test_a_socket_that_was_handed_over_is_of_who_has_it(scene: Scene) -> None:
    """It was made by whoever starts the services, covered or not."""
    store, host = scene.services["store"], scene.node.host
    with scene.elsewhere(host) as stray:
        for maker, sockets in ((host, 1), (stray, 0)):
            with maker.listen("127.0.0.1", PORT) as listener, holding(store, listener):
                scene.record()
                assert scene.look() == {("node", "127.0.0.1", PORT): (NUMBERS["store"], sockets)}
            scene.record()
            scene.comes_to({})


@contextlib.contextmanager
def holding(place: Place, listener: socket.socket) -> Iterator[None]:
    """A process of the place has the socket too."""
    process = place.popen(
        ["sh", "-c", "echo ready; exec sleep 60"],
        pass_fds=[listener.fileno()],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        stop(process)


def test_the_nearest_cgroup_tells_who_it_is(scene: Scene) -> None:
    store = scene.services["store"]
    assert store.cgroup is not None
    folder = store.cgroup / "inner"
    deeper = folder / "deeper"
    deeper.mkdir(parents=True)
    scene.services["inner"] = Pod("inner", labels={}, netns=store.netns, cgroup=folder)
    scene.record()
    with (
        Place("deep", netns=store.netns, cgroup=deeper) as deep,
        deep.listen("127.0.0.1", PORT),
        store.listen("127.0.0.2", PORT),
    ):
        assert scene.look() == {
            ("node", "127.0.0.1", PORT): (NUMBERS["inner"], 1),
            ("node", "127.0.0.2", PORT): (NUMBERS["store"], 1),
        }
    deeper.rmdir()
    folder.rmdir()


def test_a_cgroup_that_was_removed_is_still_known(scene: Scene) -> None:
    folder = scene.node.cgroup / "brief"
    folder.mkdir()
    with Place("brief", netns=scene.pod.netns, cgroup=folder) as place:
        listener = place.listen(scene.pod.ip, PORT)
        entered = {("pod", scene.pod.ip, PORT): (POD, 1)}
        assert scene.look() == entered
    with listener:
        folder.rmdir()
        for _ in range(2):
            scene.record()
            assert scene.look() == entered
        scene.cover(scene.node.cgroup)
        assert scene.look() == {}, "an agent that starts now cannot know it"


def test_the_proxys_own_listeners_are_not_entered(scene: Scene) -> None:
    namespace = scene.namespaces[0]
    with netns.entered(namespace.descriptor):
        namespace.listeners[0, 0] = socket.create_server(("127.0.0.1", PORT))
    scene.cover(cgroups.mount_point())
    with scene.pod.listen(scene.pod.ip, PORT):
        assert list(look_at(scene, "pod")) == [("pod", scene.pod.ip, PORT)]
        scene.write("127.0.0.1", POD, 1)  # sock_ops saw an agent that took over
        assert list(look_at(scene, "pod")) == [("pod", scene.pod.ip, PORT)]


def look_at(scene: Scene, place: str) -> dict[tuple[str, str, int], tuple[int, int]]:
    return {where: value for where, value in scene.look().items() if where[0] == place}


def test_other_protocols_get_no_promise(scene: Scene) -> None:
    """Go's servers listen with MPTCP, and such sockets from before cannot be enrolled."""
    with scene.pod.tcp_socket(scene.pod.ip, protocol=262) as made:
        made.bind((scene.pod.ip, PORT))
        made.listen()
        assert scene.look() == {}


def test_nobody_can_fill_the_map(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "LISTENERS_EACH", 2)
    pod, store = scene.pod, scene.services["store"]
    scene.write(pod.ip, POD, 1)
    with (
        pod.listen(pod.ip, PORT),
        pod.listen("127.0.0.1", PORT),
        pod.listen("127.0.0.2", PORT),
        store.listen("127.0.0.1", PORT),
    ):
        found = scene.look()
        assert len(found) == 3
        assert ("pod", pod.ip, PORT) in found
        assert ("node", "127.0.0.1", PORT) in found


def test_who_comes_while_an_entry_is_taken_out_is_entered(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who goes while it is entered is taken out."""
    listed = connections.sockets
    opened: list[socket.socket] = []

    def comes(*arguments: Any) -> Iterator[connections.OpenSocket]:
        found = list(listed(*arguments))
        if not opened:
            opened.append(scene.pod.listen(scene.pod.ip, PORT))
        return iter(found)

    def goes(*arguments: Any) -> Iterator[connections.OpenSocket]:
        found = list(listed(*arguments))
        if opened:
            opened.pop().close()
            end = time.monotonic() + PATIENCE
            while list(listed(*arguments)):
                assert time.monotonic() < end, "the listener stays"
                time.sleep(0.01)  # who made it for the test has it a moment longer
        return iter(found)

    where = scene.pod.ip, PORT
    scene.write(scene.pod.ip, POD, 1)
    monkeypatch.setattr(connections, "sockets", comes)
    assert scene.look() == {("pod", *where): (POD, 1)}
    scene.take_out(scene.pod.ip)
    monkeypatch.setattr(connections, "sockets", goes)
    assert scene.look() == {}


def test_workloads_cgroups_are_told_to_the_programs(scene: Scene) -> None:
    table = scene.store.table("cgroups")

    def told() -> dict[int, int]:
        keys = [int.from_bytes(packed_key, "little") for packed_key in list(table.keys())]
        return {key: (table.get(key) or {})["id"] for key in keys}

    inodes = {name: Path(str(e.cgroup)).stat().st_ino for name, e in scene.services.items()}
    assert told() == {inodes[name]: NUMBERS[name] for name in scene.services}
    gone = Pod("inner", labels={}, cgroup=scene.node.cgroup / "never")
    scene.services = {"web": scene.services["web"], "inner": gone}
    assert scene.record() == ["default/inner"]
    assert told() == {inodes["web"]: NUMBERS["web"]}
    gone.cgroup = scene.node.cgroup.joinpath(*"abcdefghijklmnop")
    with pytest.raises(DatapathError, match="16 levels deep"):
        scene.record()
