"""What the agent needs of a datapath, and the one that needs no kernel's help."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from l7proxy.observe.flows import RequestRecord
from l7proxy.observe.tally import Tally
from l7proxy.policy.model import PolicySet
from l7proxy.workloads.model import Workload


class DatapathError(Exception):
    """The datapath cannot do what was asked; one line: what, and what to do."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket for worker number ``worker``. ``key`` is its name, unique on the node.

    ``spec`` is picklable and passed to the worker's adapter unread. The datapath owns ``sock``.
    """

    key: str
    worker: int
    sock: socket.socket
    spec: object = None


class Datapath(Protocol):
    """Steers connections. All calls come from one thread, one at a time."""

    def apply(self, policies: PolicySet, workloads: Sequence[Workload], revision: int) -> None:
        """Program the tables, whole or not at all.

        Raises DatapathError; the old ones are in force then.
        """

    def tend(self) -> None:
        """What has to be done from time to time, called about once a second; takes a moment.

        Raises DatapathError; it goes on with what it can, and need not be called less often.
        """

    @property
    def no_room(self) -> frozenset[str]:
        """The digests of tables (``compiler.tables``) that are for the kernel road, and whose
        requests go to the proxy since there is no room for them. May be asked from any thread."""

    def listeners(self) -> Sequence[Listener]:
        """The sockets that workers should accept on now; changes as workloads come and go."""

    def adapter_options(self) -> Mapping[str, Any]:
        """What a worker's ``transparent`` adapter is told; picklable."""

    def status(self) -> Mapping[str, Any]:
        """For ``l7proxy status``: JSON. ``tables`` maps table names to their sizes.

        ``table_limits`` has what those have room for where that is a number of entries.
        """

    def counters(self) -> Mapping[str, int]:
        """Counts since the kernel's state was made."""

    def records(self, most: int) -> Sequence[RequestRecord]:
        """Requests that the datapath has decided itself, told since the last call; of ``most``
        pieces of news at most. The one call that comes from a thread of its own."""

    def tally(self) -> Tally:
        """What it has counted of all of them."""

    def close(self) -> None:
        """Stop listening, let go, and leave what is pinned in force. Nothing is called after it.

        Workers may still be serving the connections they have.
        """
