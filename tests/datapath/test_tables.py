"""The kernel's tables say what the policies mean: looked up here as the programs look them up.

Seen to fail: with ``prefix_length`` leaving out the 96 bits of a mapped address; with
``port_boundaries`` leaving out the ends of ranges.
"""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address, ip_network
from itertools import combinations
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from l7proxy.compiler.execute import decide_tables
from l7proxy.compiler.fit import KernelFit
from l7proxy.datapath import addresses
from l7proxy.datapath.addresses import identity_number, packed, plain, prefix_length, unpacked
from l7proxy.datapath.names import IDENTITY_HOST, IDENTITY_WORLD
from l7proxy.datapath.tables import Entries, Located, TableError, compile_entries, port_prefixes
from l7proxy.limits import Limits
from l7proxy.policy.decide import admit, decide, selects
from l7proxy.policy.documents import load_text
from l7proxy.policy.model import Direction, PolicySet
from l7proxy.policy.roads import choose
from l7proxy.policy.verdict import Road
from l7proxy.workloads.model import HOST, Address, Peer, Workload, World
from tests.policy.support import request

FIT = KernelFit(Limits())


def workload(name: str, *texts: str, **more: Any) -> Workload:
    return Workload("default", name, {"app": name}, tuple(map(ip_address, texts)), **more)


NEAR = workload("a", "10.0.0.1", "fd00::1")
ALSO = workload("b", "10.0.0.2", "fd00::2")
SHARING = workload("c", "192.168.0.1", cgroup="/c")
REMOTE = workload("d", "10.1.0.1", "fd00:1::1")
WORKLOADS = (NEAR, ALSO, SHARING, REMOTE)
LOCATED = (Located(NEAR, 1, False), Located(ALSO, 2, False), Located(SHARING, 3, True))
HOST_ADDRESSES = (ip_address("192.168.0.1"), ip_address("fd00:2::1"))
NETWORKS = (
    "0.0.0.0/0", "::/0", "0.0.0.0/1", "::/1", "128.0.0.0/1", "10.0.0.0/8", "10.2.0.0/16",
    "203.0.113.0/24", "203.0.113.128/25", "203.0.113.7/32", "2001:db8::/32", "2001:db8:1::/48",
    "fd00::/8", "::fffe:0:0/95", "::ffff:10.2.0.0/112",
)  # fmt: skip
WORLD = (
    "0.0.0.0", "1.1.1.1", "10.2.3.4", "10.3.0.1", "127.255.255.255", "128.0.0.0", "203.0.113.7",
    "203.0.113.8", "203.0.113.200", "203.0.114.0", "255.255.255.254", "::", "2001:db8::1",
    "2001:db8:1::1", "2001:db9::", "8000::1", "ffff::1",
)  # fmt: skip
PORTS = (1, 79, 80, 81, 443, 1023, 1024, 8079, 8080, 8090, 8091, 32768, 65534, 65535)


def number_at(entries: Entries, address: Address) -> int:
    """As ``identity_at`` in bpf/identity.h: the longest prefix of the address."""
    found, longest = IDENTITY_WORLD, -1
    bits = int.from_bytes(packed(address), "big")
    for each in entries.identities:
        length = prefix_length(each.network)
        start = int.from_bytes(packed(each.network.network_address), "big")
        if bits >> (128 - length) == start >> (128 - length) and length > longest:
            found, longest = each.number, length
    return found


def class_at(entries: Entries, port: int) -> int:
    found, longest = 0, -1
    for first, length, number in entries.port_classes:
        if port >> (16 - length) == first >> (16 - length) and length > longest:
            found, longest = number, length
    return found


def road_at(entries: Entries, client: int, server: int, port: int) -> Road:
    """As ``road_of`` in bpf/identity.h."""
    if client == server:
        return Road.SPLICE
    return entries.roads.get((client, server, class_at(entries, port)), Road.SPLICE)


def number_of(entries: Entries, peer: Peer) -> int:
    return number_at(entries, peer.address) if isinstance(peer, World) else identity_number(peer)


def meant(policies: PolicySet, client: Peer, server: Peer, port: int) -> Road:
    """What this node must do; ingress of a workload elsewhere is for its own node to enforce."""
    local = isinstance(server, Workload) and server in (NEAR, ALSO, SHARING)
    concerned = (
        local and isinstance(server, Workload) and selects(policies, server, Direction.INGRESS)
    ) or (isinstance(client, Workload) and selects(policies, client, Direction.EGRESS))
    if not concerned:
        return Road.SPLICE
    return choose(
        admit(policies, WORKLOADS, client, server, port),
        server_is_local=local,
        short_circuit=not isinstance(server, Workload) or server.short_circuit,
        kernel_road=True,
        unfit=FIT.unfit,
    ).road


def compiled(documents: list[dict[str, Any]]) -> tuple[PolicySet, Entries]:
    policies = load_text(yaml.safe_dump_all(documents))
    return policies, compile_entries(policies, WORKLOADS, LOCATED, HOST_ADDRESSES, fit=FIT)


def assert_same_meaning(documents: list[dict[str, Any]], ports: tuple[int, ...] = PORTS) -> None:
    policies, entries = compiled(documents)
    peers: list[Peer] = [*WORKLOADS, HOST, *(World(ip_address(text)) for text in WORLD)]
    for client in peers:
        for server in peers:
            if isinstance(client, World) and isinstance(server, World):
                continue
            for port in ports:
                numbers = number_of(entries, client), number_of(entries, server)
                found = road_at(entries, *numbers, port)
                wanted = meant(policies, client, server, port)
                assert found == wanted, f"{client} to {server}, port {port}"
                tables = entries.tables.get((*numbers, class_at(entries, port)))
                assert (tables is not None) == (found is Road.KERNEL)
                if tables is not None:
                    admission = admit(policies, WORKLOADS, client, server, port)
                    for asked in (request("GET /"), request("POST /")):
                        verdict = decide(admission, asked, WORKLOADS)
                        assert decide_tables(tables, asked) == verdict


def policy(name: str = "one", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "l7proxy.io/v1alpha1",
        "kind": "L7Policy",
        "metadata": {"name": name},
        "spec": {"endpointSelector": {"matchLabels": {"app": "a"}}, **spec},
    }


selectors = st.sampled_from([{}, *({"matchLabels": {"app": name}} for name in "abcd")])


@st.composite
def port_rules(draw: st.DrawFn, denying: bool) -> dict[str, Any]:
    first = draw(st.sampled_from(PORTS))
    last = draw(st.sampled_from([port for port in PORTS if port >= first]))
    rule: dict[str, Any] = {"ports": [{"port": str(first), "endPort": last, "protocol": "TCP"}]}
    if not denying and draw(st.booleans()):
        rule["rules"] = {"http": [draw(st.sampled_from([{}, {"method": "GET"}]))]}
    return rule


@st.composite
def traffic_rules(draw: st.DrawFn, way: str, denying: bool) -> dict[str, Any]:
    networks = st.sampled_from(NETWORKS)
    peers = draw(
        st.one_of(
            st.fixed_dictionaries({f"{way}Endpoints": st.lists(selectors, max_size=2)}),
            st.fixed_dictionaries(
                {f"{way}Entities": st.lists(st.sampled_from(["all", "world", "host", "cluster"]))}
            ),
            st.fixed_dictionaries({f"{way}CIDR": st.lists(networks, max_size=3)}),
            networks.map(lambda text: {f"{way}CIDRSet": [{"cidr": text, "except": inside(text)}]}),
            st.just({}),
        )
    )
    if draw(st.booleans()):
        peers["toPorts"] = draw(st.lists(port_rules(denying), min_size=1, max_size=2))
    return peers


def inside(text: str) -> list[str]:
    """The networks that lie in this one, other than itself."""
    outer = ip_network(text)
    inner = [ip_network(each) for each in NETWORKS if each != text]
    return [str(each) for each in inner if each.version == outer.version and each.subnet_of(outer)]


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    spec: dict[str, Any] = {"endpointSelector": draw(selectors), "audit": draw(st.booleans())}
    for field, way in (("ingress", "from"), ("egress", "to")):
        for suffix in ("", "Deny"):
            rules = draw(st.lists(traffic_rules(way, bool(suffix)), max_size=2))
            if rules:
                spec[field + suffix] = rules
        if {field, f"{field}Deny"} & set(spec) and draw(st.booleans()):
            spec.setdefault("enableDefaultDeny", {})[field] = draw(st.booleans())
    if not {"ingress", "ingressDeny", "egress", "egressDeny"} & set(spec):
        spec["ingress"] = [{}]
    return policy(f"p{draw(st.integers(0, 9999))}", **spec)


@settings(max_examples=60, deadline=None)
@given(st.lists(policies(), max_size=3, unique_by=lambda each: each["metadata"]["name"]))
def test_tables_mean_what_the_policies_mean(documents: list[dict[str, Any]]) -> None:
    assert_same_meaning(documents, (1, 80, 1024, 8080, 65535))


def test_an_audited_policy_refuses_nobody_and_takes_the_proxy_where_http_is_spoken() -> None:
    http = [{"ports": [{"port": "80", "protocol": "TCP"}], "rules": {"http": [{"method": "GET"}]}}]
    allowed = [{"fromEndpoints": [{"matchLabels": {"app": "b"}}], "toPorts": http}]
    document = policy(audit=True, ingress=allowed)
    assert_same_meaning([document])
    _, entries = compiled([document])
    for client in (number_of(entries, each) for each in (ALSO, REMOTE, HOST)):
        assert road_at(entries, client, number_of(entries, NEAR), 80) is Road.PROXY
        assert road_at(entries, client, number_of(entries, NEAR), 22) is Road.SPLICE


@pytest.mark.parametrize("field", ["ingress", "egress"])
@pytest.mark.parametrize("names", [*combinations(NETWORKS, 1), *combinations(NETWORKS, 2)])
def test_networks_inside_each_other(field: str, names: tuple[str, ...]) -> None:
    """Each allowed on its own terms: the last only for HTTP."""
    way = "from" if field == "ingress" else "to"
    *plain_ones, last = names
    http = [{"ports": [{"port": "80", "protocol": "TCP"}], "rules": {"http": [{"method": "GET"}]}}]
    rules: list[dict[str, Any]] = [{f"{way}CIDR": [name]} for name in plain_ones]
    rules.append({f"{way}CIDR": [last], "toPorts": http})
    assert_same_meaning([policy(**{field: rules})], (80, 81))


def http(*rules: dict[str, Any], **peers: Any) -> dict[str, Any]:
    ports = [{"port": "80", "protocol": "TCP"}]
    return {**peers, "toPorts": [{"ports": ports, "rules": {"http": list(rules)}}]}


GET, POST = {"method": "GET"}, {"method": "POST"}


def entries_of(*documents: dict[str, Any], **more: Any) -> Entries:
    policies = load_text(yaml.safe_dump_all(documents))
    workloads = more.pop("workloads", WORKLOADS)
    located = [Located(each, slot, False) for slot, each in enumerate(workloads)]
    return compile_entries(policies, workloads, located, (), **{"fit": FIT, **more})


def roads_to(entries: Entries, server: Workload) -> set[Road]:
    """On port 80, from all that have one."""
    port = class_at(entries, 80)
    number = identity_number(server)
    return {road for (_, to, ports), road in entries.roads.items() if (to, ports) == (number, port)}


def test_without_a_kernel_road_the_proxy_decides() -> None:
    document = policy(ingress=[http(GET)])
    entries = entries_of(document, fit=None)
    assert roads_to(entries, NEAR) == {Road.PROXY}
    assert not entries.tables
    assert roads_to(entries_of(document), NEAR) == {Road.KERNEL}


def test_a_server_that_is_left_alone_is_not_for_the_kernel() -> None:
    left = workload("a", "10.0.0.9", short_circuit=False)
    other = Workload("default", "a2", {"app": "a"}, (ip_address("10.0.0.10"),))
    entries = entries_of(policy(ingress=[http(GET)]), workloads=(left, other, ALSO))
    assert roads_to(entries, left) == {Road.PROXY}
    assert roads_to(entries, other) == {Road.KERNEL}


def test_one_number_for_two_peers_with_different_rules_takes_the_proxy() -> None:
    """An address that is in no network may be of either family."""
    both = policy(
        ingress=[http(GET, fromCIDR=["0.0.0.0/0"]), http(POST, fromCIDR=["::/0"])],
    )
    world = (IDENTITY_WORLD, identity_number(NEAR))
    entries = entries_of(both)
    assert entries.roads[(*world, class_at(entries, 80))] is Road.PROXY
    alike = entries_of(policy(ingress=[http(GET, fromEntities=["world"])]))
    assert alike.roads[(*world, class_at(alike, 80))] is Road.KERNEL
    assert (*world, class_at(alike, 80)) in alike.tables
    first = entries_of(policy(ingress=[http(GET, fromCIDR=["0.0.0.0/0"])]))
    assert first.roads[(*world, class_at(first, 80))] is Road.REFUSED


def three_servers() -> list[dict[str, Any]]:
    """A policy for each workload of this node, with rules of its own."""
    documents = []
    for name in "abc":
        document = policy(f"p{name}", ingress=[http({"path": f"/{name}"})])
        document["spec"]["endpointSelector"] = {"matchLabels": {"app": name}}
        documents.append(document)
    return documents


ROOM_FOR_TWO = 450_000
"""One grammar of 133 kB, and two small sets of rules of 135 kB."""


def test_rules_beyond_what_the_kernel_may_hold_take_the_proxy() -> None:
    everything = entries_of(*three_servers())
    assert len({each.digest for each in everything.tables.values()}) == 3
    assert everything.no_room == frozenset()
    some = entries_of(*three_servers(), table_bytes=ROOM_FOR_TWO)
    assert len({each.digest for each in some.tables.values()}) == 2
    assert len(some.no_room) == 1
    ways = {server.id: roads_to(some, server) for server in (NEAR, ALSO, SHARING)}
    assert ways == {NEAR.id: {Road.KERNEL}, ALSO.id: {Road.KERNEL}, SHARING.id: {Road.PROXY}}
    assert set(some.roads) == set(everything.roads)
    for server in (NEAR, ALSO, SHARING):
        number = identity_number(server)
        for first, last, concerned in ((80, 80, True), (1, 65535, True), (81, 65535, False)):
            crowded = some.crowds(number, Direction.INGRESS, first, last)
            assert crowded is (concerned and server is SHARING)
        # As clients, the others connect to it.
        assert some.crowds(number, Direction.EGRESS, 80, 80) is (server is not SHARING)


@pytest.mark.parametrize("key", [b"one", b"two", b"three", b"four"])
def test_who_is_crowded_out_does_not_depend_on_the_nodes_numbers(key: bytes) -> None:
    number = partial(identity_number, key=key)
    here = entries_of(*three_servers(), table_bytes=ROOM_FOR_TWO)
    there = entries_of(*three_servers(), table_bytes=ROOM_FOR_TWO, number=number)
    assert here.roads.keys() != there.roads.keys()
    assert here.no_room == there.no_room


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_port_prefixes_cover_exactly(one: int, other: int) -> None:
    first, last = min(one, other), max(one, other)
    following = first
    for start, length in port_prefixes(first, last):
        assert start == following
        assert 0 <= length <= 16
        assert start % (1 << (16 - length)) == 0
        following = start + (1 << (16 - length))
    assert following == last + 1
    assert len(list(port_prefixes(first, last))) <= 30


def test_workloads_with_one_number_are_refused() -> None:
    with pytest.raises(TableError, match=r"default/a.*default/b|default/b.*default/a"):
        compile_entries(load_text(""), WORKLOADS, LOCATED, HOST_ADDRESSES, number=lambda peer: 4711)


def test_numbers_stay_and_leave_the_reserved_ones_alone() -> None:
    assert identity_number(NEAR) == identity_number(workload("a", "10.9.9.9"))
    assert identity_number(HOST) == IDENTITY_HOST
    assert identity_number(World(ip_address("1.1.1.1"))) == IDENTITY_WORLD
    numbers = {identity_number(workload(f"w{n}")) for n in range(5000)}
    assert len(numbers) == 5000
    assert min(numbers) >= 256


def test_workload_that_shares_the_node_is_not_known_by_address() -> None:
    _, entries = compiled([])
    shared = ip_address("192.168.0.1")
    assert number_at(entries, shared) == IDENTITY_HOST
    assert number_at(entries, ip_address("10.0.0.2")) == identity_number(ALSO)
    assert number_at(entries, ip_address("fd00:1::1")) == identity_number(REMOTE)
    slots = {each.number: each.slot for each in entries.identities if each.flags}
    assert slots[identity_number(ALSO)] == 2
    assert identity_number(REMOTE) not in slots


@given(st.ip_addresses())
def test_addresses_come_back(address: Address) -> None:
    assert unpacked(packed(address)) == plain(str(address)) or addresses.plain(str(address))
    assert plain(str(unpacked(packed(address)))) == plain(str(address))
