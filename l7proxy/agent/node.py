"""The running agent: what is read from disk becomes what is in force, in every worker at once."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from l7proxy.agent import processes, recording
from l7proxy.agent.clockwork import Clockwork
from l7proxy.agent.datapaths import Opened
from l7proxy.agent.flows import Flows
from l7proxy.agent.inputs import Inputs
from l7proxy.agent.places import Places, places
from l7proxy.agent.pool import Pool
from l7proxy.agent.report import Report
from l7proxy.agent.statedir import StateDir
from l7proxy.config import Config
from l7proxy.datapath.port import Datapath, DatapathError
from l7proxy.observe import tally
from l7proxy.observe.flows import Redaction, RequestRecord
from l7proxy.observe.metrics import NodeFacts, connections_by_road
from l7proxy.observe.recorder import RecorderSettings
from l7proxy.observe.tally import Tally
from l7proxy.proxy.control import Configure, Snapshot
from l7proxy.proxy.userspace import endpoint

T = TypeVar("T")

_TEND_SECONDS = 1.0
_RETRY_SECONDS = 5.0


class Node:
    """Holds the parts together.

    All calls on the datapath are made by one thread, so that they do not hold up the agent's
    own answers and never meet each other.
    """

    def __init__(
        self,
        config: Config,
        state: StateDir,
        report: Report,
        thread: ThreadPoolExecutor,
    ) -> None:
        self.config = config
        self.report = report
        self.inputs = Inputs(config)
        self.snapshot: Snapshot | None = None
        self.applied_at = 0.0
        self.apply_errors = 0
        self.started_at = time.time()
        self.clockwork = Clockwork()
        self._state = state
        self._opened: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self._started = asyncio.Event()
        self._thread = thread
        self._attempts = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._insist = False
        self._retry_at = 0.0
        self._places: Places = ()
        self._said: tuple[str, ...] = ()
        self._said_of_tending = ""
        self._digests: tuple[str, str] | None = None
        redact = config.flows.redact
        self._recording = RecorderSettings(
            config.node,
            log=config.access_log,
            log_lock=state.log_lock,
            flow_bytes=config.limits.flow_queue_bytes,
            redaction=Redaction(frozenset(redact.headers), redact.query),
        )
        self.flows = Flows(self._recording, config.limits)
        self.pool = Pool(
            config.proxy.workers,
            self._configure,
            self._worker_died,
            self.flows.received,
            report,
        )

    def changed(self) -> None:
        """The files may have changed: look soon."""
        self._changed.set()

    def reload(self) -> None:
        """Look now, and say what is wrong even if it has been said."""
        self._insist = True
        self._changed.set()

    async def start(self, opening: Awaitable[Opened]) -> None:
        """The datapath open and workers up, the first set in force, listeners handed out.

        To open the datapath takes seconds where it compiles; processes start meanwhile. Raises
        AgentError.
        """
        self._opened = asyncio.ensure_future(opening)
        others = asyncio.gather(self.pool.start(), self.inputs.read(), return_exceptions=True)
        try:
            await self._opened
        finally:
            results = await others
        for result in results:
            if isinstance(result, BaseException):
                raise result
        self._started.set()
        await self._bring_in_force()
        await self._offer_listeners()

    async def keep(self) -> None:
        """Bring every change in force, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_TEND_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                if self._retry_at and time.monotonic() >= self._retry_at:
                    await self._bring_in_force()
                await self._follow_places()
            else:
                self._changed.clear()
                await self.inputs.read(insist=self._insist)
                await self._bring_in_force()
            await self._tend()
            await self._offer_listeners()

    async def record(self) -> None:
        """Publish what the datapath tells of single requests, until cancelled."""

        def read(most: int) -> Sequence[RequestRecord] | None:
            return None if self._closed else self._datapath.records(most)

        await recording.publish(read, self.flows, self.config.limits.flow_read_rate)

    async def facts(self) -> NodeFacts:
        """For a scrape, which waits while the datapath is being opened."""
        await self._started.wait()
        counters = self._datapath.counters
        snapshot = self.snapshot
        status = await self.datapath_status()
        tables = dict(status.get("tables", {}))
        if snapshot is not None:
            tables["policies"] = len(snapshot.policies.policies)
            tables["rules"] = snapshot.policies.rule_count
            tables["workloads"] = len(snapshot.workloads)
        return NodeFacts(
            revision=0 if snapshot is None else snapshot.revision,
            applied_at=self.applied_at,
            apply_errors=self.apply_errors,
            faults=self.faults,
            workers=sum(worker.ready for worker in self.pool.status()),
            worker_restarts=self.pool.restarts,
            processes={
                worker.slot: found
                for worker in self.pool.status()
                if worker.pid is not None and (found := processes.facts(worker.pid))
            },
            errors=self.report.errors,
            late_seconds=self.clockwork.late,
            clock_steps=self.clockwork.steps,
            pins_restored=int(status.get("pins_restored", 0)),
            retransmitted_segments=int(status.get("retransmitted_segments", 0)),
            tables=tables,
            table_limits=dict(status.get("table_limits", {})),
            flow_events_lost=self.flows.lost,
            datapath=self.mode,
            datapath_counters={} if self._closed else await self._on_datapath(counters),
            kernel=Tally() if self._closed else await self._on_datapath(self._datapath.tally),
        )

    async def datapath_status(self) -> dict[str, Any]:
        """What the datapath says of itself; nothing once it is closed."""
        return {} if self._closed else dict(await self._on_datapath(self._datapath.status))

    async def close(self, drain_seconds: float) -> int:
        """Take no more connections and drain; the number of those cut short. May be repeated.

        The datapath goes first: a listening socket that stays open takes connections nobody
        serves. What it pinned stays in force.
        """
        if not self._closed:
            self._closed = True
            if self._opened.done() and not self._opened.exception():
                await self._on_datapath(self._datapath.close)
        try:
            return await self.pool.stop(drain_seconds)
        finally:
            self.flows.close()

    @property
    def mode(self) -> str:
        """``ebpf`` or ``userspace``."""
        return self._opened.result().mode

    @property
    def why(self) -> str:
        """Why it is that mode."""
        return self._opened.result().why

    @property
    def kernel_road(self) -> bool:
        """Whether requests may be judged in the kernel."""
        return self._opened.result().kernel_road

    @property
    def _datapath(self) -> Datapath:
        return self._opened.result().datapath

    @property
    def ready(self) -> bool:
        """A policy set is in force, and every worker serves by it."""
        return self.snapshot is not None and all(each.ready for each in self.pool.status())

    @property
    def faults(self) -> int:
        """What keeps the files as they are now from being in force: their mistakes, the kernel."""
        return len(self.inputs.errors) + bool(self._retry_at)

    def roads(self, facts: NodeFacts) -> dict[str, int]:
        """How many connections took each road."""
        return connections_by_road(tally.load_all(self._state.metrics), facts)

    @property
    def no_room(self) -> frozenset[str]:
        """See ``Datapath.no_room``."""
        return self._datapath.no_room

    def listener_addresses(self) -> list[str]:
        """Where workers accept, each address once."""
        if self._closed:
            return []
        names = (listener.sock.getsockname() for listener in self.pool.listeners)
        return list(dict.fromkeys(str(endpoint(name)) for name in names))

    async def _bring_in_force(self) -> None:
        """Make the good inputs the node's policy: the workers first, the datapath after them.

        In that order a connection that the new tables steer to a worker never meets one that
        decides by the old policy.
        """
        self._say_errors()
        policies, workloads = self.inputs.policies.current, self.inputs.workloads.current
        if policies is None or workloads is None:
            return
        digests = (policies.digest, workloads.digest)
        if digests == self._digests:
            self._retry_at = 0.0
            return
        self._attempts += 1
        former = self.snapshot
        fresh = Snapshot(policies, workloads.workloads, self._attempts)
        await self.pool.publish(fresh)
        if not await self._program(fresh):
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            await self.pool.publish_former(former)
            return
        self._retry_at = 0.0
        self._digests = digests
        self.snapshot = fresh
        self.applied_at = time.time()
        self.report.info(
            f"revision {fresh.revision} is in force: {len(policies.policies)} policies,"
            f" {policies.rule_count} rules, {len(workloads.workloads)} workloads"
        )

    async def _follow_places(self) -> None:
        """Program the datapath again when namespaces or cgroups have come or gone."""
        snapshot = self.snapshot
        if self.mode == "ebpf" and snapshot is not None:
            found = places(snapshot.workloads)
            if found != self._places:
                await self._program(snapshot)

    async def _tend(self) -> None:
        """Let the datapath do its regular work; what hinders it is said once, not every second."""
        try:
            await self._on_datapath(self._datapath.tend)
        except DatapathError as error:
            if str(error) != self._said_of_tending:
                self.report.error(f"datapath: {error}")
            self._said_of_tending = str(error)

    async def _program(self, snapshot: Snapshot) -> bool:
        """Whether the datapath took the set; if not, that is said and what it had stays."""
        if self.mode == "ebpf":
            self._places = places(snapshot.workloads)
        apply = functools.partial(
            self._datapath.apply, snapshot.policies, snapshot.workloads, snapshot.revision
        )
        try:
            await self._on_datapath(apply)
        except DatapathError as error:
            self.apply_errors += 1
            self.report.error(f"datapath: {error}; what was in force before stays")
            return False
        return True

    def _say_errors(self) -> None:
        errors = self.inputs.errors
        insist, self._insist = self._insist, False
        if errors and (insist or errors != self._said):
            self.apply_errors += 1
            for error in errors:
                self.report.error(error)
        if self._said and not errors:
            self.report.info("what was wrong with the files is repaired")
        for warning in self.inputs.warnings if insist or self.snapshot is None else ():
            self.report.info(f"warning: {warning}")
        self._said = errors

    async def _offer_listeners(self) -> None:
        await self.pool.offer(await self._on_datapath(self._datapath.listeners))

    async def _on_datapath(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _configure(self, slot: int) -> Configure:
        await asyncio.shield(self._opened)
        return Configure(
            limits=self.config.limits,
            adapter="transparent" if self.mode == "ebpf" else "userspace",
            adapter_options=await self._on_datapath(self._datapath.adapter_options),
            recorder=dataclasses.replace(
                self._recording, tally=tally.slot_path(self._state.metrics, slot)
            ),
        )

    def _worker_died(self, slot: int) -> None:
        """What it counted stays; what it was in the middle of is over."""
        path = tally.slot_path(self._state.metrics, slot)
        with contextlib.suppress(OSError):
            tally.save(tally.resume(path), path)
