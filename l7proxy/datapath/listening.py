"""Who listens where in the covered namespaces: the map ``listeners``, kept true.

The sock_ops program enters a covered socket when it begins to listen, counts the sockets at each
endpoint, and takes out what is closed. It cannot know of sockets from before it was attached, or
before their namespace was covered, nor of those that are not covered at all. Those the agent sees
when it looks: at every change, and every few seconds in between.

An entry with ``sockets`` above 0 promises that whoever listens there is covered, so that the
programs see every connection which is made to it. 0 promises nothing: the agent knows who it is,
but connections whose requests need to be judged have to take the proxy.

Looking and entering take time, in which sockets come and go. What the agent writes errs so that a
promise is withheld, or is put right by another look at once: whoever changed something looks
again. What is left is this: the sock_ops program is not told when a socket closes that it never
counted, and so its entry stays until the next look, with whatever socket, covered or not, begins
to listen there.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from l7proxy.datapath import connections, libbpf, netns
from l7proxy.datapath.addresses import listening_addresses, packed
from l7proxy.datapath.cgroups import Cgroups
from l7proxy.datapath.connections import OpenSocket
from l7proxy.datapath.names import IDENTITY_CONTESTED, IDENTITY_HOST, LISTENERS_EACH
from l7proxy.datapath.slots import Namespace
from l7proxy.datapath.store import Store
from l7proxy.proxy.ports import Endpoint

_ROUNDS = 3

Entries = Mapping[bytes, bytes]
"""Keys and values as they are in the map."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an entry should say. ``sockets`` is 0 unless every socket there is covered."""

    identity: int
    sockets: int


class Recorded:
    """Whose a listener is, as the programs find it: ``identity_of_listener``, bpf/identity.h."""

    def __init__(self, store: Store) -> None:
        self._table = store.table("listeners")
        self._state = store.table("state")

    def identity_at(self, where: Endpoint, cookie: int, resident: int) -> int:
        """Of who listens there, in the namespace with this cookie; ``resident`` is the identity
        of the one workload that lives in it, 0 if several share it."""
        if not resident or (self._state.get(0) or {}).get("cgroups"):
            for address in listening_addresses(where.address):
                found = self._table.get({"address": address, "netns": cookie, "port": where.port})
                if found is not None:
                    return int(found["identity"])
        return resident or IDENTITY_HOST


class Listeners:
    """Looks at who listens, and enters it."""

    def __init__(self, store: Store, cgroups: Cgroups) -> None:
        self._table = store.table("listeners")
        self._covered = store.table("netns")
        self._cgroups = cgroups
        self._entered: Counter[int] = Counter()

    def look(self, namespaces: Iterable[Namespace]) -> None:
        """Makes the map say what is so now in these namespaces. Raises OSError.

        Entries that no socket is behind are taken out, also those of namespaces that nobody
        covers any more, because a namespace's sockets end with it.
        """
        recorded = self._recorded()
        for each in namespaces:
            self._settle(each, recorded.get(each.cookie, {}))
        covered = {int.from_bytes(key, "little") for key in list(self._covered.keys())}
        for cookie, entries in recorded.items():
            if cookie not in covered:
                for key in entries:
                    libbpf.map_delete(self._table.fd, key)

    def _recorded(self) -> dict[int, dict[bytes, bytes]]:
        """What is in the map, by namespace."""
        found: dict[int, dict[bytes, bytes]] = {}
        self._entered.clear()
        for key in list(self._table.keys()):
            value = libbpf.map_lookup(self._table.fd, key, self._table.value.size)
            if value is not None:
                found.setdefault(self._table.key.unpack(key)["netns"], {})[key] = value
                self._entered[self._table.value.unpack(value)["identity"]] += 1
        return found

    def _settle(self, namespace: Namespace, entries: Entries) -> None:
        """Enters what is there, until a look finds nothing to change; not for ever."""
        for _ in range(_ROUNDS):
            # The map was read before the sockets are listed: an entry without a socket was made
            # for one that is gone, not for one that has come since.
            wanted = self.wanted(namespace)
            changes = [self._enter(key, entries.get(key), wanted[key]) for key in wanted]
            changes += [
                self._take_out(key, value) for key, value in entries.items() if key not in wanted
            ]
            if not any(changes):
                return
            values = {
                key: libbpf.map_lookup(self._table.fd, key, self._table.value.size)
                for key in {*entries, *wanted}
            }
            entries = {key: value for key, value in values.items() if value is not None}

    def wanted(self, namespace: Namespace) -> dict[bytes, Wanted]:
        """What should be entered for the namespace, by key. The proxy's own listeners are not."""
        own = {os.fstat(each.fileno()).st_ino for each in namespace.listeners.values()}
        there: dict[Endpoint, list[OpenSocket]] = {}
        with netns.entered(namespace.descriptor):
            for each in connections.sockets(connections.LISTENING):
                if each.inode not in own:
                    there.setdefault(each.local, []).append(each)
        seen = {
            where: [each for each in sharing if self._is_seen(each)]
            for where, sharing in there.items()
        }
        taken = {(packed(where.address), where.port) for where in seen if seen[where]}
        found: dict[bytes, Wanted] = {}
        for where, sharing in there.items():
            owners = self._owners(namespace, sharing, seen[where])
            if not owners and not seen[where]:
                # Nobody's, and not covered. A program that finds no entry looks at wider ones.
                wider = listening_addresses(where.address)[1:]
                if not any((address, where.port) in taken for address in wider):
                    continue
                owners = {namespace.identity or IDENTITY_HOST}
            key = self._table.key.pack(
                {"address": packed(where.address), "netns": namespace.cookie, "port": where.port}
            )
            found[key] = Wanted(
                # Whose the next connection is, nobody knows.
                owners.pop() if len(owners) == 1 else IDENTITY_CONTESTED,
                len(sharing) if len(seen[where]) == len(sharing) else 0,
            )
        return found

    def _is_seen(self, each: OpenSocket) -> bool:
        """Whether the programs can judge what comes to the socket. What is inside another
        protocol, as with MPTCP, they cannot enrol."""
        return self._cgroups.covers(each) and not each.layer

    def _owners(
        self, namespace: Namespace, sharing: Iterable[OpenSocket], seen: Iterable[OpenSocket]
    ) -> set[int]:
        """The workloads whose processes have the sockets; of a covered one that no workload has,
        the workload where it was made, else the namespace's, else the node itself."""
        owners: set[int] = set()
        for each in sharing:
            owners |= self._cgroups.holders(each)
        for each in seen:
            if not self._cgroups.holders(each):
                resident = namespace.identity or IDENTITY_HOST
                owners.add(self._cgroups.maker(each) or resident)
        return owners

    def _enter(self, key: bytes, value: bytes | None, wanted: Wanted) -> bool:
        """Whether something was written, or another had written it first."""
        if value is None:
            return self._add(key, wanted)
        found = self._table.value.unpack(value)
        # The count is the sock_ops program's. Too high a one keeps an entry until the next look,
        # too low a one would take it from sockets that are still there.
        sockets = max(found["sockets"], wanted.sockets) if wanted.sockets else 0
        if (found["identity"], found["sockets"]) == (wanted.identity, sockets):
            return False
        self._write(key, wanted.identity, sockets, libbpf.BPF_ANY)
        return True

    def _add(self, key: bytes, wanted: Wanted) -> bool:
        if self._entered[wanted.identity] >= LISTENERS_EACH:
            return False  # as in the sock_ops program: it can expose itself only
        self._entered[wanted.identity] += 1
        try:
            self._write(key, wanted.identity, wanted.sockets, libbpf.BPF_NOEXIST)
        except OSError as error:
            if error.errno == errno.EEXIST:
                return True
            if error.errno == errno.E2BIG:
                return False  # nor is there room for what begins to listen, which is counted
            raise
        return True

    def _take_out(self, key: bytes, value: bytes) -> bool:
        if libbpf.map_lookup(self._table.fd, key, len(value)) == value:
            libbpf.map_delete(self._table.fd, key)
        return True

    def _write(self, key: bytes, identity: int, sockets: int, flags: int) -> None:
        value = self._table.value.pack({"identity": identity, "sockets": sockets})
        libbpf.map_update(self._table.fd, key, value, flags)
