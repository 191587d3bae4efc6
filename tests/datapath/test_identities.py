"""Workloads that share the node's network are told apart by cgroup, and refusals name nobody else.

Seen to fail: with ``identity_of_cgroup`` in bpf/identity.h returning 0 every service is the host.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from l7proxy.demo import pods, servers
from l7proxy.demo.places import Place
from l7proxy.demo.pods import Node, Pod
from tests.datapath.covered import PATIENCE, Covered, accepted

pytestmark = pytest.mark.needs_ebpf

POLICIES = """
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: store}
spec:
  endpointSelector: {matchLabels: {app: store}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: web}}]
    toPorts:
    - ports: [{port: "7000", protocol: TCP}]
    - ports: [{port: "7001", protocol: TCP}]
      rules: {datapath: proxy, http: [{method: GET}]}
---
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: pod}
spec:
  endpointSelector: {matchLabels: {app: pod}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: web}}]
    toPorts: [{ports: [{port: "7000", protocol: TCP}]}]
---
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: batch}
spec:
  endpointSelector: {matchLabels: {app: batch}}
  egress:
  - toEndpoints: [{matchLabels: {app: web}}]
"""
WHERE = {
    "loopback": "127.0.0.1",
    "loopback6": "::1",
    "node": str(pods.NODE_V4.ip),
    "node6": str(pods.NODE_V6.ip),
}


class Cast:
    """The node's services and pods, by name."""

    def __init__(self, node: Node) -> None:
        self.store = node.add_service("store")
        self.web = node.add_service("web")
        self.batch = node.add_service("batch")
        self.other = node.add_service("other")
        self.pod = node.add_pod("pod")
        self.host = node.host
        self.outside = node.outside


@pytest.fixture(scope="module")
def cast(node: Node) -> Cast:
    return Cast(node)


@pytest.fixture(scope="module")
def early(node: Node, cast: Cast) -> None:
    """A listener that was there before the programs were."""
    servers.python(cast.store, node.directory / "early", "early", "127.0.0.1", 7100)


@pytest.fixture(scope="module")
def covered(node: Node, cast: Cast, early: None) -> Iterator[Covered]:
    made = Covered(node)
    made.start()
    made.apply(POLICIES)
    yield made
    made.end()


@pytest.fixture(params=WHERE)
def host(request: pytest.FixtureRequest) -> str:
    return WHERE[request.param]


def connects(client: Place, host: str, port: int) -> bool:
    """Whether the connection is made; not made means refused at once."""
    try:
        client.connect(host, port).close()
    except PermissionError:
        return False
    return True


def test_same_network_different_policies(covered: Covered, cast: Cast, host: str) -> None:
    with cast.store.listen(host, 7000), cast.other.listen(host, 7002):
        for client, allowed in ((cast.web, True), (cast.other, False), (cast.host, False)):
            assert connects(client, host, 7000) == allowed, client.name
        for client in (cast.web, cast.other, cast.host):
            assert connects(client, host, 7002), client.name
        assert connects(cast.store, host, 7000)
        assert not connects(cast.batch, host, 7002)
        assert not connects(cast.batch, host, 7000)


def test_listener_that_listens_on_all_addresses(covered: Covered, cast: Cast) -> None:
    for anywhere, hosts in (("0.0.0.0", ("loopback", "node")), ("::", ("loopback6", "node6"))):
        with cast.store.listen(anywhere, 7000):
            for name in hosts:
                assert connects(cast.web, WHERE[name], 7000)
                assert not connects(cast.other, WHERE[name], 7000)


def test_listener_from_before_the_programs(covered: Covered, cast: Cast) -> None:
    assert connects(cast.store, "127.0.0.1", 7100)
    for client in (cast.web, cast.other, cast.host):
        assert not connects(client, "127.0.0.1", 7100)


def test_port_changes_hands(covered: Covered, cast: Cast) -> None:
    """A listener's identity goes with it, also while another shares its port."""
    with cast.store.listen("127.0.0.1", 7003):
        assert not connects(cast.host, "127.0.0.1", 7003)
    with cast.other.listen("127.0.0.1", 7003):
        assert connects(cast.host, "127.0.0.1", 7003)
    with cast.host.listen("127.0.0.1", 7003):
        assert connects(cast.batch, "127.0.0.1", 7003) is False
        assert connects(cast.other, "127.0.0.1", 7003)
    with cast.store.listen("127.0.0.1", 7003), cast.store.listen("127.0.0.2", 7003):
        assert not connects(cast.host, "127.0.0.1", 7003)
        assert not connects(cast.host, "127.0.0.2", 7003)


def test_pod_knows_services_of_the_node(covered: Covered, cast: Cast) -> None:
    for host in (cast.pod.ip, cast.pod.ip6):
        with cast.pod.listen(host, 7000):
            for client, allowed in ((cast.web, True), (cast.other, False), (cast.host, False)):
                assert connects(client, host, 7000) == allowed, client.name
            # The node's address tells nothing about who is calling from it.
            for _ in range(20):
                assert connects(cast.web, host, 7000)
                assert not connects(cast.other, host, 7000)


def test_service_knows_pods_and_the_world(covered: Covered, cast: Cast) -> None:
    for host in (WHERE["node"], WHERE["node6"]):
        with cast.store.listen(host, 7000), cast.other.listen(host, 7002):
            assert not connects(cast.pod, host, 7000)
            assert connects(cast.pod, host, 7002)
            with covered.counted() as risen, pytest.raises(ConnectionRefusedError):
                cast.outside.connect(host, 7000)
            assert risen.items() >= {"server_refused": 1}.items()
            cast.outside.connect(host, 7002).close()


def test_proxy_is_told_which_service(covered: Covered, cast: Cast, host: str) -> None:
    with cast.store.listen(host, 7001) as listener:
        with cast.web.connect(host, 7001) as near:
            seen = told(near)
            assert seen == {
                "client": "default/web",
                "client_endpoint": list(near.getsockname()[:2]),
                "server": "default/store",
                "destination": [host, 7001],
                "direction": "INGRESS",
            }
        # The proxy itself reaches the listener.
        dialled = covered.ask("dial", host=host, port=7001, netns=None)
        accepted(listener).close()
        covered.ask("hang_up", number=dialled["number"])
        for client in (cast.other, cast.host):
            assert not connects(client, host, 7001)


def test_service_that_listens_inside_a_pod(covered: Covered, cast: Cast) -> None:
    """Its own policy holds, not the pod's, on every road."""
    for host in (cast.pod.ip, cast.pod.ip6):
        with Place("in", netns=cast.pod.netns, cgroup=cast.other.cgroup) as inside:
            with cast.pod.listen(host, 7002):
                assert not connects(cast.host, host, 7002)
            with inside.listen(host, 7002):
                assert connects(cast.host, host, 7002)
                assert connects(cast.pod, host, 7002)
        with Place("in", netns=cast.pod.netns, cgroup=cast.store.cgroup) as inside:
            with inside.listen(host, 7000):
                assert connects(cast.web, host, 7000)
                assert not connects(cast.pod, host, 7000)
                assert not connects(cast.host, host, 7000)
            with inside.listen(host, 7001), cast.web.connect(host, 7001) as near:
                assert told(near)["server"] == "default/store"


def told(sock: Any) -> Any:
    sock.settimeout(PATIENCE)
    with sock.makefile("rb") as lines:
        return json.loads(lines.readline())


def test_processes_below_a_services_cgroup_are_the_service(covered: Covered, cast: Cast) -> None:
    below = below_of(cast.web)
    with (
        Place("below", netns=cast.web.netns, cgroup=below) as deep,
        cast.store.listen("127.0.0.1", 7000),
    ):
        assert connects(deep, "127.0.0.1", 7000)


def below_of(service: Pod) -> Any:
    assert service.cgroup is not None
    folder = service.cgroup / "a" / "b"
    folder.mkdir(parents=True)
    return folder
