"""The tables of the policy set in force, and those of its successor beside them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from l7proxy.compiler.tables import Tables
from l7proxy.datapath import libbpf
from l7proxy.datapath.addresses import EPOCH_BITS, packed, prefix_length
from l7proxy.datapath.names import road_value
from l7proxy.datapath.port import DatapathError
from l7proxy.datapath.rules import RuleMaps
from l7proxy.datapath.store import Store
from l7proxy.datapath.tables import Entries
from l7proxy.policy.verdict import Road

_TABLES = ("identities", "port_classes", "roads")

Learn = Callable[[Tables], None]
"""Is told of HTTP rules before they come into force."""


class Epochs:
    """Every entry carries the number of its set; the one that ``state`` names is in force."""

    def __init__(self, store: Store, rules: RuleMaps | None, learn: Learn) -> None:
        """``rules`` is None where the kernel judges no requests."""
        self._store = store
        self._rules = rules
        self._learn = learn
        self.now = int((store.table("state").get(0) or {}).get("epoch", 0))
        """The number in force; 0: none has been."""
        self.sizes: dict[str, int] = {}
        """How much of each table the set in force takes."""

    def switch(self, entries: Entries, state: Mapping[str, int], limit: int) -> None:
        """Writes the entries under a new number, then names it: one store, all or nothing.

        ``state`` is the rest of the programs' ``struct state``; ``limit`` how many roads a set may
        have. The set before stays until the next switch, because a program that has just read its
        number may still be looking its entries up. Raises DatapathError and OSError; what was in
        force stays.
        """
        needed = len(entries.roads) + len(entries.known)
        if needed > limit:
            # The map has room for this set and its successor; a larger one could not be replaced.
            raise DatapathError(
                f"policy needs {needed} roads: raise limits.kernel_roads, which is {limit}"
            )
        self._drop_all_but(self.now)
        epoch = self.now % (2**32 - 1) + 1
        try:
            self._write(entries, epoch)
        except OSError as error:
            self._drop_all_but(self.now)
            raise DatapathError(f"the kernel's tables cannot hold this policy: {error}") from None
        self._store.table("state").set(0, {"epoch": epoch, **state})
        self.now = epoch
        self.sizes = {
            "identities": len(entries.identities),
            "port_classes": len(entries.port_classes),
            "roads": needed,
        }
        if self._rules is not None:
            self.sizes |= {
                "kernel_roads": len(entries.tables),
                "kernel_rules_crowded_out": len(entries.no_room),
                **self._rules.sizes(),
            }

    def _write(self, entries: Entries, epoch: int) -> None:
        identities = self._store.table("identities")
        for each in entries.identities:
            identities.set(
                {
                    "prefixlen": EPOCH_BITS + prefix_length(each.network),
                    "epoch": epoch,
                    "address": packed(each.network.network_address),
                },
                {"id": each.number, "slot": each.slot, "flags": each.flags},
            )
        classes = self._store.table("port_classes")
        for port, length, number in entries.port_classes:
            prefix = {
                "prefixlen": EPOCH_BITS + length, "epoch": epoch, "port": port.to_bytes(2, "big"),
            }  # fmt: skip
            classes.set(prefix, number)
        roads = self._store.table("roads")
        for where, road in entries.roads.items():
            client, server, port_class = where
            value = road_value(road)
            if self._rules is not None and where in entries.tables:
                self._learn(entries.tables[where])
                placed = self._rules.place(entries.tables[where])
                value = road_value(road, placed.size.number, placed.number)
            key = {"epoch": epoch, "client": client, "server": server, "port_class": port_class}
            roads.set(key, value)
        for number in entries.known:
            roads.set({"epoch": epoch, "client": number}, road_value(Road.SPLICE))

    def _drop_all_but(self, epoch: int) -> None:
        for name in _TABLES:
            table = self._store.table(name)
            for key in list(table.keys()):
                if table.key.unpack(key)["epoch"] != epoch:
                    libbpf.map_delete(table.fd, key)
        if self._rules is not None:
            values = self._store.table("roads").values()
            self._rules.retire(int.from_bytes(value, sys.byteorder) for value in values)
