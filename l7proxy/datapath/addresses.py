"""Addresses as the programs see them: IPv6 in network byte order, IPv4 in its mapped form."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address, IPv6Address, ip_address

from l7proxy.datapath.names import FIRST_FREE_IDENTITY, IDENTITY_HOST, IDENTITY_WORLD
from l7proxy.policy.model import Network
from l7proxy.workloads.model import Address, Host, Peer, World

ADDRESS_BITS = 128
EPOCH_BITS = 32
"""What stands before the address in a prefix of the map ``identities``."""
_MAPPED = bytes(10) + b"\xff\xff"


def packed(address: Address) -> bytes:
    """16 bytes."""
    return _MAPPED + address.packed if address.version == 4 else address.packed


def unpacked(address: bytes) -> Address:
    """The address in ``packed``'s form, IPv4 where it is a mapped one."""
    if address.startswith(_MAPPED):
        return IPv4Address(address[12:])
    return IPv6Address(address)


def plain(text: str) -> Address:
    """A socket's own text for an address, without scope, mapped IPv4 as IPv4."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def prefix_length(network: Network) -> int:
    """Of the network in the mapped form, 0 to 128."""
    return network.prefixlen + (96 if network.version == 4 else 0)


def stays_inside(client: Address, server: Address) -> bool:
    """Whether both ends must be in one namespace; the same rule as in bpf/address.h."""
    return client.is_loopback or server.is_loopback or client == server


def listening_addresses(address: Address) -> tuple[bytes, ...]:
    """Where a listener that takes connections to ``address`` may be bound, nearest first."""
    any6 = bytes(16)
    if address.version == 4:
        return packed(address), packed(IPv4Address(0)), any6
    return packed(address), any6


def identity_number(peer: Peer | Network, key: bytes = b"") -> int:
    """The number that stands for a peer in the kernel, the same after every restart.

    Made from the name, so that what the kernel recorded before a restart still means the same
    workload. Two names with one number are refused by ``tables.compile_entries``; ``key``, a
    secret of the node, keeps anybody from choosing a name that has another's number.
    """
    if isinstance(peer, Host):
        return IDENTITY_HOST
    if isinstance(peer, World):
        return IDENTITY_WORLD
    name = peer.id if hasattr(peer, "id") else f"cidr {peer}"
    digest = hashlib.blake2s(name.encode(), digest_size=4, key=key).digest()
    number = int.from_bytes(digest, "little")
    return number if number >= FIRST_FREE_IDENTITY else number + FIRST_FREE_IDENTITY
