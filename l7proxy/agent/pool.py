"""The workers as a whole: kept alive, kept on the snapshot in force, drained at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from l7proxy.agent.errors import AgentError
from l7proxy.agent.report import Report
from l7proxy.agent.worker import Worker, WorkerDied
from l7proxy.datapath.port import Listener
from l7proxy.proxy.control import Configure, Snapshot

_START_SECONDS = 15.0
_ANSWER_SECONDS = 10.0
_BACKOFF_FIRST = 0.1
_BACKOFF_MAX = 5.0
_STABLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    slot: int
    pid: int | None
    ready: bool
    restarts: int


class _Slot:
    """A place for a worker: who fills it now, and what that one has been told."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.worker: Worker | None = None
        self.revision: int | None = None
        self.restarts = 0
        self.turn = asyncio.Lock()


class Pool:
    """``count`` workers. ``configure(slot)`` says what the one in a slot is told first.

    ``died(slot)`` is called when a worker ended that was not asked to; ``flows`` takes the lines
    of all workers' flow records.
    """

    def __init__(
        self,
        count: int,
        configure: Callable[[int], Awaitable[Configure]],
        died: Callable[[int], None],
        flows: Callable[[list[bytes]], None],
        report: Report,
    ) -> None:
        self._configure = configure
        self._died = died
        self._flows = flows
        self._report = report
        self._slots = [_Slot(number) for number in range(count)]
        self._keepers: list[asyncio.Task[None]] = []
        self._snapshot: Snapshot | None = None
        self._listeners: Sequence[Listener] = ()

    @property
    def restarts(self) -> int:
        return sum(slot.restarts for slot in self._slots)

    @property
    def listeners(self) -> Sequence[Listener]:
        """What workers were last offered."""
        return self._listeners

    def status(self) -> list[WorkerStatus]:
        return [
            WorkerStatus(
                slot.number,
                None if slot.worker is None else slot.worker.pid,
                slot.worker is not None and slot.worker.ready,
                slot.restarts,
            )
            for slot in self._slots
        ]

    async def start(self) -> None:
        """Start all workers and wait until each is ready. Raises AgentError."""
        started = await asyncio.gather(
            *(self._fill(slot) for slot in self._slots), return_exceptions=True
        )
        for result in started:
            if isinstance(result, BaseException):
                await self.stop(0.0)
                raise AgentError(f"the workers do not start: {_reason(result)}")
        self._keepers = [asyncio.create_task(self._keep(slot)) for slot in self._slots]

    async def publish(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force: on return every worker decides by it, or is being replaced."""
        self._snapshot = snapshot
        await self._sync_all()

    async def publish_former(self, snapshot: Snapshot | None) -> None:
        """Go back to what was in force before; None: to nothing, with workers that refuse."""
        self._snapshot = snapshot
        if snapshot is not None:
            await self._sync_all()
        else:
            self.kill()

    async def offer(self, listeners: Sequence[Listener]) -> None:
        """Make these the sockets that workers accept on: on return they do."""
        if listeners != self._listeners:
            self._listeners = tuple(listeners)
            await self._sync_all()

    async def stop(self, seconds: float) -> int:
        """Drain for at most ``seconds``, then kill; the number of connections cut short."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        workers = [slot.worker for slot in self._slots if slot.worker is not None]
        for worker in workers:
            worker.drain()
        waits = [asyncio.create_task(worker.wait()) for worker in workers if worker.pid]
        if waits:
            _, late = await asyncio.wait(waits, timeout=seconds)
            if late and seconds:
                self._report.error(f"{len(late)} workers did not drain in {seconds:g} s: killed")
            for worker in workers:
                worker.kill()
            await asyncio.wait(waits)
        return sum(worker.aborted for worker in workers)

    def kill(self) -> None:
        """End every worker now."""
        for slot in self._slots:
            if slot.worker is not None:
                slot.worker.kill()

    async def _keep(self, slot: _Slot) -> None:
        """Replace the worker of a slot whenever it dies, more slowly if it keeps dying."""
        backoff = _BACKOFF_FIRST
        while True:
            began = time.monotonic()
            if slot.worker is not None:
                code = await slot.worker.wait()
                self._report.error(f"worker {slot.number} {_ending(code)}: restarting it")
                self._died(slot.number)
            if time.monotonic() - began > _STABLE_SECONDS:
                backoff = _BACKOFF_FIRST
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _BACKOFF_MAX)
            slot.restarts += 1
            try:
                await self._fill(slot)
            except Exception as error:
                # Whatever it was: a slot that is given up would serve nobody ever again.
                self._report.error(f"worker {slot.number} does not start: {_reason(error)}")

    async def _fill(self, slot: _Slot) -> None:
        """A new worker for a slot, up to date. Raises WorkerDied, OSError, TimeoutError."""
        worker = Worker(
            slot.number, lambda text: self._report.error(f"worker: {text}"), self._flows
        )
        slot.worker, slot.revision = worker, None
        try:
            await worker.spawn()
            configure = await self._configure(slot.number)
            async with asyncio.timeout(_START_SECONDS):
                await worker.configure(configure)
        except BaseException:
            worker.kill()
            if worker.pid is None:
                slot.worker = None
            raise
        await self._sync(slot)

    async def _sync_all(self) -> None:
        await asyncio.gather(*(self._sync(slot) for slot in self._slots))

    async def _sync(self, slot: _Slot) -> None:
        """Tell the worker of a slot what it has not been told; kill one that does not answer."""
        async with slot.turn:
            worker = slot.worker
            if worker is None or not worker.ready:
                return
            with contextlib.suppress(WorkerDied):
                try:
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        await self._tell(slot, worker)
                except TimeoutError:
                    self._report.error(f"worker {slot.number} does not answer: killing it")
                    worker.kill()

    async def _tell(self, slot: _Slot, worker: Worker) -> None:
        snapshot = self._snapshot
        if snapshot is not None and slot.revision != snapshot.revision:
            await worker.apply(snapshot)
            slot.revision = snapshot.revision
        mine = [each for each in self._listeners if each.worker == slot.number]
        worker.unlisten_except({each.key for each in mine})
        for listener in mine:
            await worker.listen(listener)


def _ending(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def _reason(error: BaseException) -> str:
    if isinstance(error, WorkerDied):
        return "it ended at once; see the lines above"
    if isinstance(error, TimeoutError):
        return "it did not get ready in time"
    return f"{type(error).__name__}: {error}"
