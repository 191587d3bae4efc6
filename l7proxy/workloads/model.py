"""Who can be at either end of a connection: workloads, the node itself, the world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod, or a service identified by cgroup or namespace.

    ``netns`` is a name under /run/netns, ``cgroup`` a path below the cgroup2 mount
    ("/a/b.service"); both None for a workload known only by its addresses, as one on another
    node is.
    """

    namespace: str
    name: str
    labels: Mapping[str, str] = field(hash=False)
    addresses: tuple[Address, ...] = ()
    netns: str | None = None
    cgroup: str | None = None
    node: str | None = None
    short_circuit: bool = True

    @property
    def id(self) -> str:
        """``namespace/name``, unique on a node."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Host:
    """A process of this node that belongs to no workload."""

    id: str = "host"


@dataclass(frozen=True, slots=True)
class World:
    """An address that belongs to no workload and not to this node."""

    address: Address

    @property
    def id(self) -> str:
        return str(self.address)


Peer = Workload | Host | World
HOST = Host()
