"""What all connections of one worker share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from l7proxy.limits import Limits
from l7proxy.observe.flows import RequestRecord
from l7proxy.policy.verdict import Road
from l7proxy.proxy.decisions import PolicySnapshot
from l7proxy.proxy.pool import Pool
from l7proxy.proxy.ports import Adapter
from l7proxy.proxy.timers import Timers
from l7proxy.reasons import Reason

log = logging.getLogger("l7proxy.proxy")


class Observer(Protocol):
    """Where it is told what happens; ``l7proxy.observe.recorder.Recorder`` is one. Nothing here
    may block or raise."""

    def record(self, record: RequestRecord) -> None:
        """A decided request has ended."""

    def connection(self, direction: str, road: Road, reason: Reason) -> None:
        """A connection was accepted, or refused: road REFUSED."""

    def connection_closed(self) -> None:
        """A connection that was accepted has ended."""

    def exchange_started(self) -> None:
        """A request is being served."""

    def exchange_ended(self) -> None:
        """It is no longer."""

    def upstream_connected(self) -> None:
        """A new connection to a backend was made."""

    def upstream_failed(self, reason: Reason) -> None:
        """A backend could not be reached, closed early, spoke no HTTP or was silent."""


class Client(Protocol):
    """A client connection, as the worker sees it."""

    @property
    def idle(self) -> bool:
        """Between two requests, with nothing of the next one received."""

    def close(self) -> None:
        """Closes gracefully: what was written is delivered."""

    def reset(self) -> None:
        """Closes at once, with a reset."""

    def judge(self, snapshot: PolicySnapshot) -> None:
        """Ends a tunnel that ``snapshot`` would not let begin."""


class WorkerState:
    """Limits, clock, pool and the live snapshot of a worker; ``snapshot`` None refuses all."""

    __slots__ = (
        "adapter",
        "clients",
        "draining",
        "limits",
        "observer",
        "on_empty",
        "pool",
        "snapshot",
        "timers",
    )

    def __init__(self, limits: Limits, adapter: Adapter, observer: Observer) -> None:
        self.limits = limits
        self.adapter = adapter
        self.observer = observer
        self.timers = Timers(limits)
        self.pool = Pool(adapter, limits, self.timers, observer.upstream_connected)
        self.snapshot: PolicySnapshot | None = None
        self.draining = False
        self.clients: set[Client] = set()
        self.on_empty: Callable[[], None] | None = None

    def apply(self, snapshot: PolicySnapshot) -> None:
        """Every request whose head completes from now on is decided by ``snapshot``."""
        self.adapter.update(snapshot.workloads)
        self.snapshot = snapshot
        for client in tuple(self.clients):
            client.judge(snapshot)

    def left(self, client: Client) -> None:
        """A client connection is gone."""
        self.clients.discard(client)
        if not self.clients and self.on_empty is not None:
            self.on_empty()


def report_fault(where: str, error: BaseException) -> None:
    """One line about an exception that should not have happened: what, and the line it rose on."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    at = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else "?"
    message = " ".join(str(error).split())
    log.error("%s: %s: %s (%s)", where, type(error).__name__, message, at)
