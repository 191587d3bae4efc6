"""Where on this node the workloads are: which network namespace, by annotation or by address."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from l7proxy.datapath import netns
from l7proxy.workloads.model import Address, Workload

Search = Callable[[Iterable[str]], Mapping[str, set[Address]]]


@dataclass(frozen=True, slots=True)
class Place:
    """A workload and the name of its namespace under /run/netns; None: it shares the node's.

    ``contested``: other namespaces have its address too, and nothing tells which is its own.
    """

    workload: Workload
    netns: str | None
    contested: bool = False


class Placement:
    """Finds namespaces, and remembers them.

    A pod can give its own interfaces any address. So an address says where a workload is only as
    long as no more than one namespace can be meant, and a workload that was found stays where it
    is while it has the address.
    """

    def __init__(self, search: Search | None = None) -> None:
        """``search`` tells the addresses of every namespace but those named; /run/netns's."""
        self._search = search or addresses_by_namespace
        self._found: dict[str, str] = {}

    def locate(self, workloads: Sequence[Workload]) -> list[Place]:
        """The workloads that are on this node; a contested one in every place it could be."""
        annotated = {each.netns for each in workloads if each.netns}
        searched = [each for each in workloads if not each.netns and not each.cgroup]
        addresses = self._search(annotated) if searched else {}
        others = {address: each.id for each in workloads for address in each.addresses}
        places: list[Place] = []
        for each in workloads:
            if each.netns or each.cgroup:
                places.append(Place(each, each.netns))
                continue
            having = [n for n, own in addresses.items() if not own.isdisjoint(each.addresses)]
            name = self._choose(each, having, addresses, others)
            if name is not None:
                self._found[each.id] = name
                places.append(Place(each, name))
            else:
                places += [Place(each, contender, contested=True) for contender in having]
        return places

    def _choose(
        self,
        workload: Workload,
        having: Sequence[str],
        addresses: Mapping[str, set[Address]],
        others: Mapping[Address, str],
    ) -> str | None:
        if self._found.get(workload.id) in having:
            return self._found[workload.id]
        fitting = [
            name
            for name in having
            if addresses[name].issuperset(workload.addresses)
            and all(others.get(each, workload.id) == workload.id for each in addresses[name])
        ]
        return fitting[0] if len(fitting) == 1 else None


def addresses_by_namespace(annotated: Iterable[str]) -> dict[str, set[Address]]:
    """The addresses of every named namespace that no workload claims by name."""
    found: dict[str, set[Address]] = {}
    for name in netns.named():
        if name in annotated:
            continue
        try:
            descriptor = netns.open_named(name)
        except OSError:
            continue  # removed since it was listed
        try:
            found[name] = netns.addresses(descriptor)
        except OSError:
            continue
        finally:
            os.close(descriptor)
    return found
