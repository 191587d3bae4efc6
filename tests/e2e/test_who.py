"""Who a client is, wherever it is: pods, services of the node, processes beside, other machines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from l7proxy.demo import servers
from l7proxy.demo.agents import Agent
from l7proxy.demo.places import Place
from l7proxy.demo.pods import NODE_V4, NODE_V6, Node, Pod
from tests.support.stage import flow_of

pytestmark = [pytest.mark.needs_ebpf, pytest.mark.needs_command("nginx")]

PORT = 8080

POLICIES = """\
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: api}
spec:
  endpointSelector: {matchExpressions: [{key: tier, operator: In, values: [api]}]}
  ingress:
  - fromEndpoints: [{matchLabels: {app: reader}}]
    toPorts:
    - ports: [{port: "8080"}]
      rules: {datapath: proxy, http: [{method: GET, path: "/read(/.*)?"}]}
  - fromEntities: [world]
    toPorts:
    - ports: [{port: "8080"}]
      rules: {datapath: proxy, http: [{method: GET, path: /public}]}
---
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: vault}
spec:
  endpointSelector: {matchLabels: {app: vault}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: reader}}]
    toPorts: [{ports: [{port: "8080"}], rules: {http: [{method: GET, path: /read}]}}]
"""


class Town:
    """Two servers (a pod and a service of the node), a vault, and clients of every kind."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.pod_api = node.add_pod("pod-api", {"app": "pod-api", "tier": "api"})
        self.node_api = node.add_service("node-api", {"app": "node-api", "tier": "api"})
        self.vault = node.add_pod("vault")
        self.pod_reader = node.add_pod("pod-reader", {"app": "reader"})
        self.node_reader = node.add_service("node-reader", {"app": "reader"})
        self.stranger = node.add_pod("stranger")
        self.node_stranger = node.add_service("node-stranger", {"app": "stranger"})
        self._serve(self.pod_api, [self.pod_api.ip, self.pod_api.ip6, "127.0.0.1", "::1"])
        own = [str(NODE_V4.ip), str(NODE_V6.ip), "127.0.0.1", "::1"]
        self._serve(self.node_api, own)
        self._serve(self.vault, [self.vault.ip, self.vault.ip6])
        node.write_workloads()
        (node.directory / "policies" / "town.yaml").write_text(POLICIES)
        config = node.directory / "l7proxy.yaml"
        config.write_text(yaml.safe_dump(node.config()))
        self.agent = Agent(node.agent, config)
        self.agent.start()

    def _serve(self, server: Pod, addresses: list[str]) -> None:
        endpoints = [(address, PORT) for address in addresses]
        body = servers.echo(server.name)
        folder = self.node.directory / server.name
        servers.nginx(server, folder, endpoints, body=body, access_log=True)


@pytest.fixture(scope="module")
def town(node: Node) -> Iterator[Town]:
    made = Town(node)
    yield made
    assert made.agent.stop() == 0


def addresses(town: Town, server: str) -> tuple[str, str]:
    if server == "pod-api":
        return town.pod_api.ip, town.pod_api.ip6
    return str(NODE_V4.ip), str(NODE_V6.ip)


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("server", ["pod-api", "node-api"])
@pytest.mark.parametrize("client", ["pod_reader", "node_reader"])
def test_readers_may_read_and_no_more(town: Town, client: str, server: str, family: int) -> None:
    place: Pod = getattr(town, client)
    address = addresses(town, server)[family]
    allowed = place.http("GET", address, PORT, "/read/1")
    assert (allowed.status, allowed.header("X-Server")) == (200, server)
    for method, target in (("DELETE", "/read/1"), ("GET", "/public"), ("GET", "/read/../x")):
        refused = place.http(method, address, PORT, target)
        assert (refused.status, refused.body) == (403, b"Access denied\r\n")


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("server", ["pod-api", "node-api"])
@pytest.mark.parametrize("client", ["stranger", "node_stranger"])
def test_strangers_cannot_connect(town: Town, client: str, server: str, family: int) -> None:
    place: Pod = getattr(town, client)
    outcome = place.http("GET", addresses(town, server)[family], PORT, "/read")
    assert (outcome.stage, outcome.error) == ("connect", "EPERM")


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("server", ["pod-api", "node-api"])
def test_another_machine_is_the_world(town: Town, server: str, family: int) -> None:
    address = addresses(town, server)[family]
    outside = town.node.outside
    assert outside.http("GET", address, PORT, "/public").status == 200
    assert outside.http("GET", address, PORT, "/read").status == 403


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_another_machine_is_reset_where_no_rule_lets_it_in(town: Town, family: int) -> None:
    address = (town.vault.ip, town.vault.ip6)[family]
    outcome = town.node.outside.http("GET", address, PORT, "/read")
    assert (outcome.stage, outcome.error) == ("connect", "ECONNREFUSED")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_services_of_the_node_are_told_apart_on_loopback(town: Town, address: str) -> None:
    assert town.node_reader.http("GET", address, PORT, "/read").status == 200
    assert town.node_reader.http("GET", address, PORT, "/public").status == 403
    assert town.node_api.http("GET", address, PORT, "/private").header("X-Server") == "node-api"
    refused = town.node_stranger.http("GET", address, PORT, "/read")
    assert (refused.stage, refused.error) == ("connect", "EPERM")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_loopback_of_a_pod_is_its_own(town: Town, address: str) -> None:
    """The pod and the node both listen on this address and port: neither is taken for the other.

    A workload may always talk to itself: what stays inside a pod is not policed.
    """
    answer = town.pod_api.http("GET", address, PORT, "/private")
    assert (answer.status, answer.header("X-Server")) == (200, "pod-api")
    assert town.pod_reader.http("GET", address, PORT, "/read").error == "ECONNREFUSED"


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_the_server_and_the_log_learn_the_client(town: Town, family: int) -> None:
    clients: list[tuple[Place, str, str]] = [
        (town.pod_reader, (town.pod_reader.ip, town.pod_reader.ip6)[family], "/read"),
        (town.node_reader, (str(NODE_V4.ip), str(NODE_V6.ip))[family], "/read"),
        (town.node.outside, (town.node.outside.ip, town.node.outside.ip6)[family], "/public"),
    ]
    destination = addresses(town, "pod-api")[family]
    for place, own_address, target in clients:
        request_id = f"who-{place.name}-{family}"
        headers = [("X-Request-Id", request_id), ("X-Forwarded-For", "198.51.100.7")]
        answer = place.http("GET", destination, PORT, target, headers=headers)
        assert answer.header("X-Seen-Forwarded-For") == f"198.51.100.7, {own_address}"
        flow = flow_of(town.agent, request_id)
        assert flow["IP"]["source"] == own_address
        assert flow["IP"]["destination"] == destination
        assert flow["l4"]["TCP"]["destination_port"] == PORT
        assert flow["destination"]["pod_name"] == "pod-api"
        if place is town.node.outside:
            assert flow["source"]["labels"] == ["reserved:world"]
        else:
            assert flow["source"]["pod_name"] == place.name


def test_a_client_sees_the_address_that_it_asked_for(town: Town) -> None:
    for address in addresses(town, "pod-api"):
        with town.pod_reader.connect(address, PORT) as connection:
            assert connection.getpeername()[:2] == (address, PORT)


def test_what_was_refused_never_reached_a_server(town: Town) -> None:
    """nginx's own access log, after all that the tests above sent."""
    for client, server in ((town.pod_reader, "pod-api"), (town.node_reader, "node-api")):
        address = addresses(town, server)[0]
        assert client.http("POST", address, PORT, "/secret").status == 403
        # nginx writes a request down after its answer, and before it takes the next one.
        for target in ("/read/last", "/read/1"):
            assert client.http("GET", address, PORT, target).status == 200
        log = (town.node.directory / server / "access.log").read_text()
        assert "/read/last" in log
        targets = {line.split()[2] for line in log.splitlines()}
        assert targets <= {"/read", "/read/1", "/read/last", "/public", "/private"}
    assert (town.node.directory / "vault" / "access.log").read_text() == ""
