"""Where workloads are taken to be, when pods can give themselves any address.

Seen to fail: with ``_choose`` taking the last namespace that has the address, the first two tests
and the contested one do.
"""

from __future__ import annotations

from ipaddress import ip_address

from l7proxy.datapath.addresses import identity_number
from l7proxy.datapath.names import FIRST_FREE_IDENTITY
from l7proxy.datapath.placement import Place, Placement
from l7proxy.workloads.model import Address, Workload

USERS_AT, THIEF_AT = ip_address("10.0.0.1"), ip_address("10.0.0.2")
USERS = Workload("default", "users", {}, (USERS_AT,))
THIEF = Workload("default", "thief", {}, (THIEF_AT,))


class Node:
    """Namespaces whose addresses the test gives and changes."""

    def __init__(self, **addresses: set[Address]) -> None:
        self.addresses = addresses
        self.placement = Placement(lambda claimed: self.addresses)

    def places(self) -> set[Place]:
        return set(self.placement.locate([USERS, THIEF]))


def test_an_added_address_takes_nobodys_place() -> None:
    node = Node(a={USERS_AT}, z={THIEF_AT})
    placed = {Place(USERS, "a"), Place(THIEF, "z")}
    assert node.places() == placed
    node.addresses["z"] = {THIEF_AT, USERS_AT}
    assert node.places() == placed


def test_an_address_added_before_the_first_look_does_not_either() -> None:
    assert Place(USERS, "a") in Node(a={USERS_AT}, z={THIEF_AT, USERS_AT}).places()


def test_a_place_that_cannot_be_told_is_contested_everywhere() -> None:
    """Covered all the same, so that nothing is open."""
    contested = {Place(USERS, name, contested=True) for name in ("a", "z")}
    assert Node(a={USERS_AT}, z={USERS_AT}).places() == contested


def test_a_workload_moves_with_its_address() -> None:
    node = Node(a={USERS_AT})
    assert node.places() == {Place(USERS, "a")}
    node.addresses = {"b": {USERS_AT}}
    assert node.places() == {Place(USERS, "b")}
    node.addresses = {}
    assert node.places() == set()


def test_a_number_cannot_be_chosen_without_the_key() -> None:
    """Two names that collide under one key do not under another."""
    keys = [bytes([each]) * 16 for each in range(8)]
    numbers = {identity_number(USERS, key) for key in keys}
    assert len(numbers) == len(keys)
    assert min(numbers) >= FIRST_FREE_IDENTITY
    assert identity_number(USERS, keys[0]) == identity_number(USERS, keys[0])
