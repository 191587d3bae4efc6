"""What the datapath knows of requests that the kernel decides: single ones, and counts of all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from l7proxy.compiler.tables import Tables
from l7proxy.datapath import tallies
from l7proxy.datapath.flow_records import FlowRecords
from l7proxy.datapath.names import IDENTITY_HOST
from l7proxy.datapath.reaper import Tell
from l7proxy.datapath.rule_names import RuleNames
from l7proxy.datapath.source import ring_bytes
from l7proxy.datapath.store import RULE_NAMES, Store
from l7proxy.limits import Limits
from l7proxy.observe.flows import RequestRecord
from l7proxy.observe.tally import Tally
from l7proxy.workloads.model import HOST, Address, Peer, Workload, World


class Observing:
    """Of a kernel without the kernel road: nothing."""

    def __init__(
        self, store: Store, state: Path, limits: Limits, number: Callable[[Workload], int]
    ) -> None:
        """``state`` is the agent's folder, ``number`` gives a workload's identity.

        Raises OSError.
        """
        self._store = store
        self._most = 4 * limits.workloads
        self._number = number
        self._names = RuleNames(state / RULE_NAMES)
        self._residents: dict[int, Workload] = {}
        self._lock = threading.Lock()
        self._records: FlowRecords | None = None
        if store.has_kernel_road():
            self._records = FlowRecords(store, ring_bytes(limits), self._names, self._who)

    def meet(self, workloads: Sequence[Workload]) -> None:
        """Whom records may speak of from now on; of those who have gone some are on their way.

        What ``learn`` was told is in force.
        """
        self._names.save()
        if len(self._residents) > self._most:
            self._residents.clear()
        self._residents |= {self._number(each): each for each in workloads}

    def learn(self, tables: Tables) -> None:
        """Rules that are about to come into force."""
        self._names.learn(tables)

    def records(self, most: int) -> Sequence[RequestRecord]:
        """What has been told since the last call, of ``most`` pieces of news; any one thread."""
        with self._lock:
            return () if self._records is None else list(self._records.take(most))

    def tally(self) -> Tally:
        """Counts since the kernel's state was made."""
        return Tally() if self._records is None else tallies.read(self._store, self._names)

    def decisions(self) -> dict[str, int]:
        """Requests that were decided, by the kernel's reason."""
        return {} if self._records is None else tallies.decisions(self._store)

    @property
    def lost(self) -> int:
        """Records that were told in part only."""
        return 0 if self._records is None else self._records.lost

    @property
    def reset(self) -> Tell:
        """What to tell of connections that have to end."""
        return (lambda exchange, doom: None) if self._records is None else self._records.reset

    def close(self) -> None:
        """Let go; what the kernel tells from now on waits in the ring."""
        with self._lock:
            if self._records is not None:
                self._records.close()
                self._records = None

    def _who(self, number: int, address: Address) -> Peer:
        if number == IDENTITY_HOST:
            return HOST
        return self._residents.get(number) or World(address)
