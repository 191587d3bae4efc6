"""Who a rule's peers are: selectors, entities and address blocks against a known peer."""

from __future__ import annotations

from ipaddress import IPv6Address

from l7proxy.policy import selectors
from l7proxy.policy.model import Cidr, Entity, Peers
from l7proxy.workloads.model import Address, Host, Peer, Workload

_OF_WORKLOAD = frozenset({Entity.ALL, Entity.CLUSTER})
_OF_HOST = frozenset({Entity.ALL, Entity.CLUSTER, Entity.HOST})
_OF_WORLD = frozenset({Entity.ALL, Entity.WORLD})


def matches(peers: Peers, peer: Peer) -> bool:
    """Whether ``peer`` is one of ``peers``.

    Address blocks name the world only: a workload or the host is never selected by one, even
    where its address lies inside, as in Cilium.
    """
    if isinstance(peer, Workload):
        return any(selectors.matches(selector, peer) for selector in peers.selectors) or (
            not _OF_WORKLOAD.isdisjoint(peers.entities)
        )
    if isinstance(peer, Host):
        return not _OF_HOST.isdisjoint(peers.entities)
    return not _OF_WORLD.isdisjoint(peers.entities) or any(
        contains(cidr, peer.address) for cidr in peers.cidrs
    )


def contains(cidr: Cidr, address: Address) -> bool:
    """Whether ``address`` is inside the block and outside its exceptions.

    An IPv4 address in IPv6 clothes (``::ffff:10.0.0.1``) counts as the IPv4 address it is.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address in cidr.network and not any(address in hole for hole in cidr.exceptions)
