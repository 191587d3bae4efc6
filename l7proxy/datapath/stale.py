"""Connections that are on a road which policy no longer gives them.

A connection takes its road when it is made. One that goes straight from client to server while a
new policy set wants its requests decided, or the connection refused, is reset; the client's next
one takes the right road. Connections through the proxy need nothing: each of their requests is
decided by the current set.

So is each request of a connection that the kernel judges, as long as requests are what it has. One
that has become something else goes on where the rules that let it are still the ones in force.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from l7proxy.datapath import connections, netns
from l7proxy.datapath.addresses import packed, stays_inside
from l7proxy.datapath.listening import Recorded
from l7proxy.datapath.names import (
    FLAG_LOCAL,
    IDENTITY_HOST,
    IDENTITY_STRANGER,
    IDENTITY_WORLD,
    NO_SLOT,
    PHASE_PASSING,
    ROAD_MASK,
    ROAD_NUMBERS,
)
from l7proxy.datapath.road_entries import Key
from l7proxy.datapath.slots import Namespace
from l7proxy.datapath.store import Store
from l7proxy.datapath.tables import Entries, Identity
from l7proxy.policy.verdict import Road
from l7proxy.workloads.model import Address

_ACCEPTABLE = (connections.ESTABLISHED, connections.SYN_RECEIVED, connections.CLOSE_WAIT)
_ACCEPT_SECONDS = 1.0
_POLL_SECONDS = 0.02


class Judge:
    """Says which open connections have to go, by the entries that are in force."""

    def __init__(
        self, store: Store, entries: Entries, rules: Mapping[Key, int] | None = None
    ) -> None:
        """``rules``: where the kernel decides, the id of the rules in force (``struct http``'s
        ``rules_id``). What is missing there is taken to have changed."""
        has_exchanges = "exchanges" in store.layouts
        self._exchanges = store.table("exchanges") if has_exchanges else None
        self._rules = rules or {}
        self._flows = store.table("flows")
        self._upstreams = store.table("upstreams")
        self._recorded = Recorded(store)
        self._roads = entries.roads
        self._classes = entries.port_classes
        self._exact: dict[Address, Identity] = {}
        self._wide: list[Identity] = []
        for each in entries.identities:
            if each.network.num_addresses == 1:
                self._exact[each.network.network_address] = each
            else:
                self._wide.append(each)
        self._wide.sort(key=lambda each: -each.network.prefixlen)

    def reset_stale(self, namespaces: Sequence[Namespace], held: Callable[[], set[int]]) -> int:
        """Resets what is stale in the covered namespaces; how many. Raises OSError.

        ``held`` tells the sockets that the proxy has open now. A connection that nobody has
        accepted yet may be in the proxy's queue or in a server's: it is looked at again until
        somebody has it, and reset where nobody takes it within a second.
        """
        done = 0
        deadline = time.monotonic() + _ACCEPT_SECONDS
        waiting = list(namespaces)
        while waiting:
            is_last = time.monotonic() >= deadline
            undecided: list[Namespace] = []
            for namespace in waiting:
                with netns.entered(namespace.descriptor):
                    stale = self._stale(namespace, held)
                    queued = [each for each in stale if not each.inode]
                    done += connections.reset([s for s in stale if s.inode or is_last])
                if queued and not is_last:
                    undecided.append(namespace)
            waiting = undecided
            if waiting:
                time.sleep(_POLL_SECONDS)
        return done

    def _stale(
        self, namespace: Namespace, held: Callable[[], set[int]]
    ) -> list[connections.OpenSocket]:
        found = list(connections.sockets())
        proxy_inodes = held()  # after the listing: what was accepted in between is in it
        ports = {each.local.port for each in found if each.state == connections.LISTEN}
        return [
            each
            for each in found
            if each.state != connections.LISTEN
            and (each.inode or each.state in _ACCEPTABLE)  # else closed, and only sending on
            and each.inode not in proxy_inodes
            and self._is_stale(namespace, each, each.local.port in ports)
        ]

    def _is_stale(
        self, namespace: Namespace, each: connections.OpenSocket, is_server: bool
    ) -> bool:
        exchange = self._exchanges.get(each.cookie) if self._exchanges and each.cookie else None
        is_server = is_server or exchange is not None
        client, server = (each.remote, each.local) if is_server else (each.local, each.remote)
        inside = stays_inside(client.address, server.address)
        if not is_server and (inside or self._is_covered(server.address)):
            return False  # judged at the server's end
        flow: dict[str, int | bytes] = {
            "client": packed(client.address),
            "server": packed(server.address),
            "client_port": client.port,
            "server_port": server.port,
            "netns": namespace.cookie,
        }
        if self._upstreams.get(flow) is not None:
            return False
        if not inside:
            flow["netns"] = 0
        recorded = self._flows.number(flow)
        resident = namespace.identity or IDENTITY_HOST
        if is_server:
            target = self._recorded.identity_at(server, namespace.cookie, namespace.identity)
            stranger = resident if inside else self._stranger(client.address, recorded)
            source = stranger if recorded in (None, 0, IDENTITY_STRANGER) else recorded
        else:
            source, target = recorded or resident, self._number(server.address)
        if source == target:
            return False
        key = source, target, self._class(server.port)
        road = self._roads.get(key, Road.SPLICE)
        if road is Road.KERNEL:
            return exchange is None or not self._is_judged(exchange, key)
        return road is not Road.SPLICE

    def _is_judged(self, exchange: Mapping[str, Any], key: Key) -> bool:
        """Whether what the kernel does with the connection is what it should do now."""
        if exchange["dead"]:
            return False
        if exchange["phase"] != PHASE_PASSING:
            return True  # its next request is decided by the set in force
        # It also passes where a former set had no rules for it.
        road, rules = int(exchange["road"]), int(exchange["rules_id"])
        return road & ROAD_MASK == ROAD_NUMBERS[Road.KERNEL] and rules == self._rules.get(key)

    def _identity(self, address: Address) -> Identity | None:
        """The longest prefix, as the kernel finds it."""
        exact = self._exact.get(address)
        return exact or next((each for each in self._wide if address in each.network), None)

    def _number(self, address: Address) -> int:
        found = self._identity(address)
        return found.number if found else IDENTITY_WORLD

    def _stranger(self, address: Address, recorded: int | None) -> int:
        """A client that no program knows, as in bpf/identity.h: it is whom its address names, but
        a task of this node cannot have one that belongs to a covered namespace."""
        found = self._identity(address)
        if found is None or (recorded == IDENTITY_STRANGER and found.flags & FLAG_LOCAL):
            return IDENTITY_WORLD
        return found.number

    def _is_covered(self, address: Address) -> bool:
        found = self._identity(address)
        return found is not None and found.slot != NO_SLOT

    def _class(self, port: int) -> int:
        bits = ((first, 1 << (16 - length), number) for first, length, number in self._classes)
        return next((n for first, size, n in bits if first <= port < first + size), 0)
