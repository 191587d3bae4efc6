"""Looking workloads up: by address, by network namespace, by cgroup, by name."""

from __future__ import annotations

from collections.abc import Iterable

from l7proxy.workloads.model import HOST, Address, Peer, Workload, World
from l7proxy.workloads.pods import plain


class Directory:
    """An index over one set of workloads and the node's own addresses. It never changes."""

    def __init__(
        self, workloads: Iterable[Workload], host_addresses: Iterable[Address] = ()
    ) -> None:
        self.workloads = tuple(workloads)
        self.host_addresses = frozenset(plain(address) for address in host_addresses)
        self._by_id = {each.id: each for each in self.workloads}
        self._by_address = {
            plain(address): each for each in self.workloads for address in each.addresses
        }
        self._by_netns = {each.netns: each for each in self.workloads if each.netns}
        self._by_cgroup = {each.cgroup: each for each in self.workloads if each.cgroup}

    def by_id(self, identity: str) -> Workload | None:
        """The workload with the id ``namespace/name``."""
        return self._by_id.get(identity)

    def by_address(self, address: Address) -> Workload | None:
        """The workload that has ``address``."""
        return self._by_address.get(plain(address))

    def by_netns(self, name: str) -> Workload | None:
        """The workload whose network namespace is ``name`` under /run/netns."""
        return self._by_netns.get(name)

    def by_cgroup(self, path: str) -> Workload | None:
        """The workload whose cgroup is ``path`` or the nearest one above it.

        ``path`` is below the cgroup2 mount, as /proc/PID/cgroup shows it after ``0::``.
        """
        while path and path != "/":
            if path in self._by_cgroup:
                return self._by_cgroup[path]
            path = path.rpartition("/")[0]
        return None

    def identify(self, address: Address) -> Peer:
        """Who ``address`` is: a workload, this node (also by loopback), or the world."""
        address = plain(address)
        known = self._by_address.get(address)
        if known is not None:
            return known
        if address.is_loopback or address in self.host_addresses:
            return HOST
        return World(address)
