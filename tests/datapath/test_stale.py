"""Which open connections a new policy set ends, and which ones the kernel takes along.

Seen to fail: with ``_is_judged`` always true, tunnels outlive the rules that let them; with a
stranger's number looked up in the roads, no connection of one is ever stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, cast

import pytest

from l7proxy.datapath import connections
from l7proxy.datapath.addresses import packed
from l7proxy.datapath.connections import OpenSocket
from l7proxy.datapath.names import (
    FLAG_LOCAL,
    IDENTITY_HOST,
    IDENTITY_STRANGER,
    IDENTITY_WORLD,
    PHASE_BOUNDARY,
    PHASE_PASSING,
    road_value,
)
from l7proxy.datapath.slots import Namespace
from l7proxy.datapath.stale import Judge
from l7proxy.datapath.store import Store
from l7proxy.datapath.tables import Entries, Identity
from l7proxy.policy.verdict import Road
from l7proxy.proxy.ports import Endpoint

SERVER, CLIENT, PORT_CLASS = 1000, 2000, 3
COOKIE, NETNS = 77, 4711
RULES, OTHER_RULES = 0x1234_5678_9ABC_DEF0, 5
BOUNDARY, HEAD, PASSING = PHASE_BOUNDARY, 0, PHASE_PASSING

SERVER_AT = Endpoint(ip_address("10.0.0.1"), 8080)
CLIENT_AT = Endpoint(ip_address("10.0.0.2"), 40000)
WORLD_AT = Endpoint(ip_address("192.0.2.1"), 40000)
NOWHERE = Endpoint(ip_address("0.0.0.0"), 0)


class FakeTable:
    """What a table has been filled with: by key, or by the fields of one."""

    def __init__(self) -> None:
        self.entries: dict[Any, Any] = {}

    def set(self, key: int | Mapping[str, Any], value: Any) -> None:
        self.entries[_frozen(key)] = value

    def get(self, key: int | Mapping[str, Any]) -> Any:
        return self.entries.get(_frozen(key))

    number = get


def _frozen(key: int | Mapping[str, Any]) -> Any:
    return key if isinstance(key, int) else tuple(sorted(key.items()))


@dataclass
class Scene:
    """A covered server at SERVER_AT, and what is open in its namespace."""

    road: Road = Road.KERNEL
    rules: dict[tuple[int, int, int], int] = field(
        default_factory=lambda: {(CLIENT, SERVER, PORT_CLASS): RULES}
    )
    kernel_road: bool = True
    sockets: list[OpenSocket] = field(default_factory=list)
    held: set[int] = field(default_factory=set)
    tables: dict[str, FakeTable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = ["flows", "upstreams", "listeners", "state"] + ["exchanges"] * self.kernel_road
        self.tables = {name: FakeTable() for name in names}

    @property
    def layouts(self) -> Mapping[str, Any]:
        return self.tables

    def table(self, name: str) -> FakeTable:
        return self.tables[name]

    def judged(self, phase: int = BOUNDARY, **changes: int) -> None:
        """The kernel judges the connection of COOKIE."""
        exchange = {
            "phase": phase,
            "dead": 0,
            "road": road_value(Road.KERNEL, 1, 9),
            "rules_id": RULES,
        }
        self.tables["exchanges"].set(COOKIE, {**exchange, **changes})

    def recorded(self, client: int) -> None:
        flow = {
            "client": packed(CLIENT_AT.address),
            "server": packed(SERVER_AT.address),
            "client_port": CLIENT_AT.port,
            "server_port": SERVER_AT.port,
            "netns": 0,
        }
        self.tables["flows"].set(flow, client)

    def resets(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The cookies of what a judge of this set resets."""
        victims: list[OpenSocket] = []

        def reset(found: list[OpenSocket]) -> int:
            victims.extend(found)
            return len(found)

        monkeypatch.setattr(connections, "sockets", lambda: iter(self.sockets))
        monkeypatch.setattr(connections, "reset", reset)
        monkeypatch.setattr("l7proxy.datapath.stale._ACCEPT_SECONDS", 0.1)
        entries = Entries(
            (
                Identity(ip_network("0.0.0.0/0"), IDENTITY_WORLD),
                Identity(ip_network("10.0.0.1"), SERVER, 1, FLAG_LOCAL),
                Identity(ip_network("10.0.0.2"), CLIENT, 2, FLAG_LOCAL),
            ),
            ((8080, 16, PORT_CLASS),),
            {
                (CLIENT, SERVER, PORT_CLASS): self.road,
                (IDENTITY_WORLD, SERVER, PORT_CLASS): Road.REFUSED,
            },
            (SERVER, CLIENT, IDENTITY_WORLD, IDENTITY_HOST),
        )
        judge = Judge(cast("Store", self), entries, self.rules)
        done = judge.reset_stale([Namespace(None, None, NETNS, SERVER)], lambda: self.held)
        assert done == len(victims)
        return [each.cookie for each in victims]


def opened(local: Endpoint, remote: Endpoint, **more: Any) -> OpenSocket:
    fields = {"state": connections.ESTABLISHED, "inode": 5, "cookie": COOKIE, **more}
    return OpenSocket(2, local, remote, raw_local=b"", raw_remote=b"", **fields)


LISTENER = opened(SERVER_AT, NOWHERE, state=connections.LISTEN, inode=4, cookie=1)
CONNECTION = opened(SERVER_AT, CLIENT_AT)


def scene(**more: Any) -> Scene:
    return Scene(sockets=[LISTENER, CONNECTION], **more)


@pytest.mark.parametrize("phase", range(7))
def test_judged_requests_go_on(phase: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scene(rules={})
    made.judged(phase)
    assert made.resets(monkeypatch) == ([COOKIE] if phase == PASSING else [])


@pytest.mark.parametrize("road", [Road.REFUSED, Road.PROXY])
@pytest.mark.parametrize("phase", [HEAD, PASSING, BOUNDARY])
def test_another_road_ends_them(road: Road, phase: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scene(road=road)
    made.judged(phase)
    assert made.resets(monkeypatch) == [COOKIE]


@pytest.mark.parametrize("phase", [HEAD, PASSING, BOUNDARY])
def test_nothing_is_in_the_way_where_no_rule_is_left(
    phase: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(road=Road.SPLICE, rules={})
    made.judged(phase)
    assert made.resets(monkeypatch) == []


def test_what_nobody_judges_does_not_stay_on_the_kernel_road(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = scene()
    assert made.resets(monkeypatch) == [COOKIE]
    made.judged(dead=1)
    assert made.resets(monkeypatch) == [COOKIE]


def test_a_server_is_who_listens_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another than the namespace's own workload, which no rule concerns."""
    made = scene(road=Road.REFUSED)
    where = {"address": packed(SERVER_AT.address), "netns": NETNS, "port": SERVER_AT.port}
    made.tables["listeners"].set(where, {"identity": CLIENT + 1, "sockets": 1})
    assert made.resets(monkeypatch) == [COOKIE], "no workload is known by cgroup"
    made.tables["state"].set(0, {"cgroups": 1})
    assert made.resets(monkeypatch) == []


def test_without_a_kernel_road_it_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scene(kernel_road=False).resets(monkeypatch) == [COOKIE]
    assert scene(kernel_road=False, road=Road.SPLICE).resets(monkeypatch) == []


@pytest.mark.parametrize(
    ("rules", "exchange", "goes_on"),
    [
        (RULES, {}, True),
        (RULES, {"road": road_value(Road.KERNEL, 0, 4)}, True),  # the same rules elsewhere
        (OTHER_RULES, {}, False),
        (RULES, {"rules_id": OTHER_RULES}, False),
        # It passes since there were no rules for it, the former ones are in force again.
        (RULES, {"road": road_value(Road.SPLICE)}, False),
        (RULES, {"dead": 1}, False),
    ],
)
def test_tunnels_go_on_by_the_same_rules(
    rules: int, exchange: dict[str, int], goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(rules={(CLIENT, SERVER, PORT_CLASS): rules})
    made.judged(PASSING, **exchange)
    assert made.resets(monkeypatch) == ([] if goes_on else [COOKIE])


def test_a_server_that_listens_no_more_has_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Scene(sockets=[CONNECTION])
    made.judged(PASSING, rules_id=OTHER_RULES)
    assert made.resets(monkeypatch) == [COOKIE]


def test_clients_are_left_to_the_servers_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Scene(sockets=[opened(CLIENT_AT, SERVER_AT)], road=Road.REFUSED)
    assert made.resets(monkeypatch) == []


def test_what_the_proxy_has_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scene(held={5})
    assert made.resets(monkeypatch) == []


@pytest.mark.parametrize("state", [connections.ESTABLISHED, connections.SYN_RECEIVED])
def test_what_nobody_has_accepted_yet(state: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged from its first byte on, or reset when nobody takes it."""
    made = Scene(sockets=[LISTENER, opened(SERVER_AT, CLIENT_AT, inode=0, state=state)])
    assert made.resets(monkeypatch) == [COOKIE]
    made.judged()
    assert made.resets(monkeypatch) == []


def test_strangers_are_whom_their_address_names_but_nobody_of_this_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = scene()
    made.judged()
    assert made.resets(monkeypatch) == []
    made.recorded(IDENTITY_STRANGER)
    assert made.resets(monkeypatch) == [COOKIE], "a pod's address is not believed"
    made.sockets[1] = opened(SERVER_AT, WORLD_AT)
    assert made.resets(monkeypatch) == [COOKIE], "the world is refused"
    made.sockets[1] = CONNECTION
    made.recorded(CLIENT)
    assert made.resets(monkeypatch) == []
