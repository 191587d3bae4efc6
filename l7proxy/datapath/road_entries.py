"""The road of each pair of identities, and the rules that decide where it is the kernel's. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple

from l7proxy.compiler import head_map
from l7proxy.compiler.fit import KernelFit
from l7proxy.compiler.rules_map import SizeClass, size_class
from l7proxy.compiler.tables import Tables, watched
from l7proxy.datapath.names import GRAMMARS, RULE_SETS
from l7proxy.policy import roads
from l7proxy.policy.decide import admit, selects
from l7proxy.policy.model import Direction, Network, PolicySet
from l7proxy.policy.verdict import Road
from l7proxy.workloads.model import Peer, Workload

Key = tuple[int, int, int]
"""(client, server, port class)"""

Numbers = Callable[[Peer | Network], int]

# For addresses without any entry, which there are none of: the stricter of both families.
_STRICTEST = (Road.REFUSED, Road.PROXY, Road.KERNEL, Road.SPLICE)


class Decided(NamedTuple):
    """A road, and the tables that decide on it if it is the kernel's."""

    road: Road
    tables: Tables | None = None


class Roads:
    """Asks policy about pairs of peers, once for all that are alike."""

    def __init__(
        self,
        policies: PolicySet,
        workloads: Sequence[Workload],
        local: Container[str],
        fit: KernelFit | None,
    ) -> None:
        """``local``: the ids of the workloads of this node. ``fit``: None without kernel road."""
        self._policies = policies
        self._workloads = workloads
        self._local = local
        self._fit = fit
        self._decided: dict[Hashable, Decided] = {}

    def all(
        self,
        peers: Mapping[int, list[Peer]],
        ranges: Sequence[tuple[int, int]],
        number: Numbers,
    ) -> Iterator[tuple[Key, Decided]]:
        """Every (client, server, port class) that does not splice, in order of the peers' names:
        who is served first is the same on every node, whatever the numbers there."""
        pairs = _pairs(self._policies, self._workloads, self._local, peers, number)
        names = {code: (alike[0].id, code) for code, alike in peers.items()}
        for client, server in sorted(pairs, key=lambda pair: (names[pair[0]], names[pair[1]])):
            for port_class, (first, _) in enumerate(ranges):
                decided = _strictest(
                    [self._one(from_, to, first) for from_ in peers[client] for to in peers[server]]
                )
                if decided.road is not Road.SPLICE:
                    yield (client, server, port_class), decided

    def _one(self, client: Peer, server: Peer, port: int) -> Decided:
        is_local = isinstance(server, Workload) and server.id in self._local
        short_circuit = not isinstance(server, Workload) or server.short_circuit
        key = (_likeness(client), _likeness(server), is_local, short_circuit, port)
        found = self._decided.get(key)
        if found is None:
            admission = admit(self._policies, self._workloads, client, server, port)
            fit = self._fit
            choice = roads.choose(
                admission,
                server_is_local=is_local,
                short_circuit=short_circuit,
                kernel_road=fit is not None,
                unfit=fit.unfit if fit else roads.all_fit,
            )
            tables = None
            if choice.road is Road.KERNEL and fit is not None:
                compiled = fit.tables(admission)
                tables = None if isinstance(compiled, str) else compiled
            found = self._decided[key] = Decided(choice.road, tables)
        return found


def _strictest(possible: Sequence[Decided]) -> Decided:
    """For all peers that one number may stand for. Different rules need somebody who can tell
    the peers apart: the proxy."""
    road = next(each for each in _STRICTEST if any(one.road is each for one in possible))
    tables = {one.tables.digest: one.tables for one in possible if one.tables is not None}
    if road is not Road.KERNEL:
        return Decided(road)
    return Decided(road, *tables.values()) if len(tables) == 1 else Decided(Road.PROXY)


class Room:
    """Counts what the kernel's tables have to hold; who comes late takes the proxy road."""

    def __init__(self, table_bytes: int) -> None:
        self._left = table_bytes
        self._sets: Counter[SizeClass] = Counter()
        self._grammars: set[tuple[bytes, ...]] = set()
        self._known: dict[str, bool] = {}

    def has(self, tables: Tables) -> bool:
        """Whether there is room for ``tables``, which have it then."""
        known = self._known.get(tables.digest)
        if known is None:
            known = self._known[tables.digest] = self._take(tables)
        return known

    def _take(self, tables: Tables) -> bool:
        size = size_class(tables)
        names = watched(tables.fields)
        is_new = names not in self._grammars
        needed = size.value_bytes + is_new * head_map.VALUE_BYTES
        if (
            needed > self._left
            or self._sets[size] >= RULE_SETS
            or (is_new and len(self._grammars) >= GRAMMARS)
        ):
            return False
        self._left -= needed
        self._sets[size] += 1
        self._grammars.add(names)
        return True


def _likeness(peer: Peer) -> Hashable:
    """Peers with the same value get the same answers: policies select by labels."""
    if isinstance(peer, Workload):
        return peer.namespace, tuple(sorted(peer.labels.items()))
    return peer


def _pairs(
    policies: PolicySet,
    workloads: Sequence[Workload],
    local: Container[str],
    peers: Mapping[int, list[Peer]],
    number: Numbers,
) -> set[tuple[int, int]]:
    """The (client, server) numbers of which policy may say something, never the same twice."""
    pairs: set[tuple[int, int]] = set()
    for workload in workloads:
        own = number(workload)
        if selects(policies, workload, Direction.EGRESS):
            pairs |= {(own, server) for server in peers}
        if workload.id in local and selects(policies, workload, Direction.INGRESS):
            pairs |= {(client, own) for client in peers}
    return {(client, server) for client, server in pairs if client != server}
