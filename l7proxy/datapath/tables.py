"""Policies and workloads compiled to what the kernel's tables hold. Pure.

The programs know numbers only: an identity for each peer, a class for each range of ports that
policy tells apart, and a road for each (client, server, class) that does not splice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import pairwise

from l7proxy.compiler.fit import KernelFit
from l7proxy.compiler.tables import Tables
from l7proxy.datapath.addresses import identity_number
from l7proxy.datapath.names import (
    FLAG_LOCAL,
    FLAG_NO_SPLICE,
    IDENTITY_HOST,
    IDENTITY_WORLD,
    NO_SLOT,
)
from l7proxy.datapath.road_entries import Key, Numbers, Roads, Room
from l7proxy.limits import Limits
from l7proxy.policy.decide import cidrs, port_boundaries
from l7proxy.policy.model import Direction, Network, PolicySet
from l7proxy.policy.verdict import Road
from l7proxy.workloads.model import HOST, Address, Peer, Workload, World

_PORTS = 65536
# Always told apart: in the kernel IPv4 is a part of IPv6, and a short IPv6 prefix would have it.
_FAMILIES: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_MAPPED = IPv6Network("::ffff:0:0/96")
_WORLD = (World(ip_address("0.0.0.0")), World(ip_address("::")))  # noqa: S104 - not a bind


class TableError(Exception):
    """Policies and workloads cannot be put into tables; one line."""


@dataclass(frozen=True, slots=True)
class Located:
    """A workload of this node: the slot of the namespace it is in, and whether it shares it."""

    workload: Workload
    slot: int
    shares_namespace: bool


@dataclass(frozen=True, slots=True)
class Identity:
    """An entry of the map ``identities``."""

    network: Network
    number: int
    slot: int = NO_SLOT
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Entries:
    """All entries of one policy set."""

    identities: tuple[Identity, ...]
    port_classes: tuple[tuple[int, int, int], ...]
    """(first port, length of the prefix in bits, class)"""
    roads: Mapping[Key, Road]
    """Absent: splice, if both are known"""
    known: tuple[int, ...]
    """The identities that policy has been asked about; connections of any other are refused"""
    tables: Mapping[Key, Tables] = field(default_factory=dict)
    """What decides on each kernel road; equal digests mean equal content, not equal names"""
    crowded: Mapping[Key, Tables] = field(default_factory=dict)
    """What would decide there, and has no room: these take the proxy"""
    ranges: tuple[tuple[int, int], ...] = ()
    """First and last port by class"""

    @property
    def no_room(self) -> frozenset[str]:
        """The digests of the sets of rules that are crowded out."""
        return frozenset(each.digest for each in self.crowded.values())

    def crowds(self, number: int, direction: Direction, first: int, last: int) -> bool:
        """Whether a workload's connections, as client (egress) or as server, take the proxy on
        some of these ports because rules for them have no room."""
        end = 0 if direction is Direction.EGRESS else 1
        return any(
            key[end] == number
            and self.ranges[key[2]][0] <= last
            and first <= self.ranges[key[2]][1]
            for key in self.crowded
        )


def compile_entries(
    policies: PolicySet,
    workloads: Sequence[Workload],
    located: Iterable[Located],
    host_addresses: Iterable[Address],
    *,
    host_slot: int = NO_SLOT,
    number: Numbers = identity_number,
    fit: KernelFit | None = None,
    table_bytes: int = Limits().kernel_table_bytes,
) -> Entries:
    """Everything that the kernel needs to know. Raises TableError.

    ``host_slot`` is the slot of the node's own namespace, if workloads share it; ``number``
    gives every peer its identity. ``fit`` compiles rules for the kernel road, of which
    ``table_bytes`` may be in the kernel; None where there is no kernel road.
    """
    local = {each.workload.id: each for each in located}
    networks = sorted({*_FAMILIES, *filter(_has_own_prefix, cidrs(policies))}, key=str)
    edges = [0, *port_boundaries(policies), _PORTS]
    ranges = [(low, high - 1) for low, high in pairwise(edges) if low < high]
    peers = _peers(workloads, networks, number)
    decider = Roads(policies, workloads, local, fit)
    room = Room(table_bytes)
    found: dict[Key, Road] = {}
    tables: dict[Key, Tables] = {}
    crowded: dict[Key, Tables] = {}
    for key, decided in decider.all(peers, ranges, number):
        road = decided.road
        if decided.tables is not None:
            if room.has(decided.tables):
                tables[key] = decided.tables
            else:
                crowded[key] = decided.tables
                road = Road.PROXY
        found[key] = road
    return Entries(
        tuple(_identities(workloads, local, host_addresses, host_slot, networks, number)),
        tuple(_port_classes(ranges)),
        found,
        tuple(sorted(peers)),
        tables,
        crowded,
        tuple(ranges),
    )


def _peers(
    workloads: Sequence[Workload], networks: Sequence[Network], number: Numbers
) -> dict[int, list[Peer]]:
    """Who a number may stand for: one peer, or one for each address family."""
    peers: dict[int, list[Peer]] = {IDENTITY_HOST: [HOST], IDENTITY_WORLD: list(_WORLD)}
    names: dict[int, str] = {}
    for workload in workloads:
        code = number(workload)
        _claim(names, code, workload.id)
        peers[code] = [workload]
    for network in networks:
        address = _address_only_in(network, networks)
        if address is not None:
            code = number(network)
            _claim(names, code, str(network))
            peers[code] = [World(address)]
    return peers


def _claim(names: dict[int, str], number: int, name: str) -> None:
    other = names.setdefault(number, name)
    if other != name:
        raise TableError(f"{name} and {other} have the same identity number: rename one of them")


def _address_only_in(network: Network, networks: Sequence[Network]) -> Address | None:
    """An address of ``network`` that no smaller network of the list has; None if there is none."""
    inner = [
        each
        for each in networks
        if each.version == network.version
        and each.prefixlen > network.prefixlen
        and each.subnet_of(network)  # type: ignore[arg-type]  # versions are equal
    ]
    candidates = [int(network.network_address)]
    candidates += [int(each.broadcast_address) + 1 for each in inner]
    for candidate in candidates:
        if candidate > int(network.broadcast_address):
            continue
        address = type(network.network_address)(candidate)
        if not any(address in each for each in inner):
            return address
    return None


def _has_own_prefix(network: Network) -> bool:
    """False for IPv6 networks of mapped addresses: a rule never matches those as IPv6."""
    return isinstance(network, IPv4Network) or not network.subnet_of(_MAPPED)


def _identities(
    workloads: Sequence[Workload],
    local: Mapping[str, Located],
    host_addresses: Iterable[Address],
    host_slot: int,
    networks: Sequence[Network],
    number: Numbers,
) -> Iterator[Identity]:
    for network in networks:
        yield Identity(network, number(network))
    for address in host_addresses:
        yield Identity(ip_network(address), IDENTITY_HOST, host_slot, FLAG_LOCAL)
    for workload in workloads:
        place = local.get(workload.id)
        if place is not None and place.shares_namespace:
            continue  # its addresses are the node's; it is known by cgroup and listener
        slot = place.slot if place else NO_SLOT
        flags = FLAG_LOCAL if place else 0
        if not workload.short_circuit:
            flags |= FLAG_NO_SPLICE
        for address in workload.addresses:
            yield Identity(ip_network(address), number(workload), slot, flags)


def _port_classes(ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    for port_class, (first, last) in enumerate(ranges):
        if port_class:  # class 0 is what has no entry
            for prefix, length in port_prefixes(first, last):
                yield prefix, length, port_class


def port_prefixes(first: int, last: int) -> Iterator[tuple[int, int]]:
    """The fewest (port, bits) prefixes that cover ``first`` to ``last``."""
    while first <= last:
        size = first & -first or _PORTS
        while size > last - first + 1:
            size //= 2
        yield first, 16 - size.bit_length() + 1
        first += size
