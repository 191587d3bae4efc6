"""The eBPF datapath as the agent uses it."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l7proxy.compiler.cache import DfaCache
from l7proxy.compiler.fit import KernelFit
from l7proxy.compiler.rules_map import rules_id
from l7proxy.config import Config
from l7proxy.datapath import (
    answers,
    connections,
    counting,
    features,
    netns,
    source,
    tables,
)
from l7proxy.datapath.addresses import identity_number
from l7proxy.datapath.cache import Cache
from l7proxy.datapath.cgroups import Cgroups
from l7proxy.datapath.epochs import Epochs
from l7proxy.datapath.listening import Listeners
from l7proxy.datapath.names import (
    IDENTITY_CONTESTED,
    MAX_WORKERS,
    Counter,
)
from l7proxy.datapath.observing import Observing
from l7proxy.datapath.placement import Place, Placement
from l7proxy.datapath.port import DatapathError, Listener
from l7proxy.datapath.reaper import Reaper
from l7proxy.datapath.rules import RuleMaps
from l7proxy.datapath.segments import Retransmissions
from l7proxy.datapath.slots import Namespace, Slots
from l7proxy.datapath.stale import Judge
from l7proxy.datapath.store import identity_key, open_store, remove_others
from l7proxy.observe.flows import RequestRecord
from l7proxy.observe.tally import Tally
from l7proxy.policy.model import PolicySet
from l7proxy.workloads.model import Workload

_LOOK_SECONDS = 5.0
"""Between two looks at who listens."""


class EbpfDatapath:
    """Tables, attachments and listeners of one node. Pinned: it goes on when this process ends."""

    def __init__(self, config: Config) -> None:
        """Loads or adopts the kernel state. Raises DatapathError."""
        if config.proxy.workers > MAX_WORKERS:
            raise DatapathError(f"proxy.workers: the eBPF datapath has room for {MAX_WORKERS}")
        cgroup = config.cgroup_folder()
        lacking = features.missing(config.bpffs, cgroup)
        if lacking is not None or cgroup is None:
            raise DatapathError(lacking or "cgroup v2 is not mounted")
        self._cgroup = cgroup
        self._config = config
        self._store, self.adopted = open_store(
            config.bpffs, config.state, Cache(config.cache), config.limits
        )
        self._automata = DfaCache()
        self._key = identity_key(config.state)
        self._number = functools.partial(identity_number, key=self._key)
        self._rules: RuleMaps | None = None  # where the kernel judges no requests
        try:
            self._store.pins.hold()
            if self._store.has_kernel_road():
                self._rules = RuleMaps(self._store)
                answers.write(self._store)
            self._observing = Observing(self._store, config.state, config.limits, self._number)
        except OSError as error:
            raise DatapathError(f"cannot use the kernel's tables: {error}") from None
        self._slots = Slots(self._store, config.proxy.workers, config.limits.namespaces)
        self._cgroups = Cgroups(self._store, cgroup)
        self._listening = Listeners(self._store, self._cgroups)
        limits = config.limits
        self._reaper = Reaper(
            self._store,
            self._slots,
            limits.linger_timeout,
            limits.stream_timeout,
            self._observing.reset,
        )
        self._look_at = 0.0
        self._cookie = netns.cookie(None)
        self._retransmissions = Retransmissions()
        self._unplaced: list[str] = []
        self._workloads: tuple[Workload, ...] = ()
        self._placement = Placement()
        self._entries: tables.Entries | None = None
        self._stale = 0
        self._reset_error: str | None = None
        self._epochs = Epochs(self._store, self._rules, self._observing.learn)

    def apply(self, policies: PolicySet, workloads: Sequence[Workload], revision: int) -> None:
        """Covers the workloads' namespaces and puts the tables of the set into force as a whole.

        A namespace or cgroup may get another identity before the tables know it: what the set in
        force has not been told of is refused, so nothing is open in between.
        """
        try:
            self._apply(policies, workloads)
        except DatapathError:
            self._restore()
            raise
        self._workloads = tuple(workloads)
        self._observing.meet(workloads)

    def _restore(self) -> None:
        """After a failure: the workloads of the set in force have their identities back."""
        try:
            self._locate(self._workloads)
            self._record(self._workloads)
        except (OSError, DatapathError):
            return  # what could not be restored is refused; the failure itself is reported

    def _apply(self, policies: PolicySet, workloads: Sequence[Workload]) -> None:
        host_addresses = netns.addresses(None)
        try:
            self._store.pins.restore()
            located, cookies = self._locate(workloads)
            entries = tables.compile_entries(
                policies,
                workloads,
                located,
                host_addresses,
                host_slot=self._slots.number_of(self._cookie),
                number=self._number,
                fit=self._fit(),
                table_bytes=self._config.limits.kernel_table_bytes,
            )
            self._record(workloads)
            self._switch(entries, workloads)
            if self._cgroups.attach():
                self._listening.look(self._slots)  # nobody has seen who came since
            self._slots.attach()
            self._slots.release(cookies)
            remove_others(self._config.bpffs, self._config.state, self._store.folder.name)
            if entries != self._entries:
                self._reset_stale(entries)
            self._entries = entries
        except tables.TableError as error:
            raise DatapathError(str(error)) from None
        except OSError as error:
            raise DatapathError(f"cannot program the kernel: {error}") from None

    @property
    def kernel_road(self) -> bool:
        """Whether requests may be judged in the kernel."""
        return self._rules is not None

    @property
    def no_room(self) -> frozenset[str]:
        return frozenset() if self._entries is None else self._entries.no_room

    def _fit(self) -> KernelFit | None:
        return KernelFit(self._config.limits, self._automata) if self._rules else None

    def tend(self) -> None:
        """Resets what the kernel has given up, puts back pins that somebody has removed; now and
        then looks at who listens."""
        now = time.monotonic()
        try:
            self._store.pins.restore()
            try:
                self._reaper.reap(now)
            finally:
                if now >= self._look_at:
                    self._look_at = now + _LOOK_SECONDS
                    self._listening.look(self._slots)
        except OSError as error:
            self._reset_error = str(error)
            raise DatapathError(f"cannot tend connections: {error}") from None

    def listeners(self) -> Sequence[Listener]:
        """The transparent listeners, one for each namespace, worker and address family."""
        return [
            Listener(
                f"netns-{each.slot}-{each.cookie}.{worker}.{'ip6' if six else 'ip4'}",
                worker,
                sock,
                {
                    "netns": each.name,
                    "cookie": each.cookie,
                    "identity": each.identity,
                    "proxy_port": each.proxy_port,
                },
            )
            for each in self._slots
            for (worker, six), sock in each.listeners.items()
        ]

    def adapter_options(self) -> Mapping[str, Any]:
        """What ``transparent.Adapter`` is made from."""
        return {
            "folder": str(self._store.folder),
            "layouts": dict(self._store.layouts),
            "host_addresses": tuple(netns.addresses(None)),
            "identity_key": self._key,
        }

    def status(self) -> Mapping[str, Any]:
        return {
            "build": self._store.folder.name,
            "adopted": self.adopted,
            "cgroup": str(self._cgroup),
            "programs": self._store.programs(),
            "attached": self._store.links(),
            "kernel_road": self.kernel_road,
            "kernel_ways": counting.ways(self._store),
            "kernel_decisions": self._observing.decisions(),
            "kernel_road_lacks": self._store.kernel_road_lacks or None,
            "receive_program": "on_receive" in self._store.links(),
            "namespaces": [
                {"slot": each.slot, "name": each.name, "proxy_port": each.proxy_port}
                for each in sorted(self._slots, key=lambda each: each.slot)
            ],
            "unplaced": self._unplaced,
            "epoch": self._epochs.now,
            "connections_reset": self._stale + self._reaper.resets,
            "reset_error": self._reset_error,
            "pins_restored": self._store.pins.restored,
            "retransmitted_segments": self._retransmissions.total(self._slots),
            "tables": {**self._epochs.sizes, "namespaces": len(list(self._slots))},
            "table_limits": source.table_limits(self._config.limits),
        }

    def counters(self) -> Mapping[str, int]:
        """Sums over all CPUs."""
        found = counting.counters(self._store)
        found[Counter.RECORDS_LOST.value] += self._observing.lost
        return found

    def records(self, most: int) -> Sequence[RequestRecord]:
        """Of requests that the kernel has decided."""
        return self._observing.records(most)

    def tally(self) -> Tally:
        """All that the kernel has counted of requests."""
        return self._observing.tally()

    def close(self) -> None:
        """Ends the listeners: what needs the proxy is refused until an agent runs again."""
        self._slots.close()
        self._observing.close()
        self._store.pins.let_go()

    def _reset_stale(self, entries: tables.Entries) -> None:
        """Connections made before, that policy now wants on another road. See ``stale``."""
        rules = {where: rules_id(each) for where, each in entries.tables.items()}
        judge = Judge(self._store, entries, rules)
        try:
            self._stale += judge.reset_stale(list(self._slots), _sockets_of_children)
        except OSError as error:
            # The policy is in force for every new connection; what is lacking is said in status.
            self._reset_error = str(error)

    def _locate(self, workloads: Sequence[Workload]) -> tuple[list[tables.Located], set[int]]:
        """Finds and covers the namespaces of the workloads that are on this node."""
        wanted: dict[int, Namespace] = {}
        covered: list[tuple[Place, int]] = []
        self._unplaced = []
        for place in self._placement.locate(workloads):
            name, workload = place.netns, place.workload
            try:
                found = Namespace(name, netns.open_named(name) if name else None, self._cookie)
            except OSError:
                self._unplaced.append(workload.id)
                continue
            if name:
                found.cookie = netns.cookie(found.descriptor)
                found.identity = self._number(workload)
                if place.contested:
                    found.identity = IDENTITY_CONTESTED  # nobody gets in or out
                    self._unplaced.append(workload.id)
                found.short_circuit = workload.short_circuit
            if found.cookie in wanted:
                found.close()
            else:
                wanted[found.cookie] = found
            if not place.contested:
                covered.append((place, found.cookie))
        self._slots.cover(list(wanted.values()))
        located = [
            tables.Located(place.workload, self._slots.number_of(cookie), place.netns is None)
            for place, cookie in covered
        ]
        return located, set(wanted)

    def _record(self, workloads: Sequence[Workload]) -> None:
        """Who the cgroups are, and the listeners that are there already."""
        self._unplaced += self._cgroups.record(workloads, self._number)
        self._listening.look(self._slots)
        self._look_at = time.monotonic() + _LOOK_SECONDS

    def _switch(self, entries: tables.Entries, workloads: Sequence[Workload]) -> None:
        limits = self._config.limits
        state = {
            "workers": self._config.proxy.workers,
            "credit": limits.redirect_credit,
            "cgroups": sum(workload.cgroup is not None for workload in workloads),
            "host_netns": self._cookie,
            "record_interval": 10**9 * (os.cpu_count() or 1) // limits.flow_rate,
        }
        self._epochs.switch(entries, state, limits.kernel_roads)


def _sockets_of_children() -> set[int]:
    """What the proxy holds: the workers are the agent's children."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {inode for pid in pids for inode in connections.socket_inodes(int(pid))}
