"""The agent's life: start, serve, drain, and leave the kernel's state behind."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from l7proxy.agent import datapaths, descriptors
from l7proxy.agent.admin import Admin
from l7proxy.agent.errors import AgentError
from l7proxy.agent.httpd import HEAD_BYTES, HttpServer
from l7proxy.agent.node import Node
from l7proxy.agent.report import Report
from l7proxy.agent.scrape import Scrape
from l7proxy.agent.statedir import StateDir
from l7proxy.agent.watch import Watch
from l7proxy.config import Config
from l7proxy.file_errors import reason
from l7proxy.observe import recorder, tally
from l7proxy.proxy.ports import Endpoint
from l7proxy.proxy.userspace import endpoint
from l7proxy.workloads.model import Workload

_DRAIN_MARGIN = 5.0
_AGAIN_SECONDS = 1.0


def run(config: Config) -> int:
    """Run the agent until SIGTERM or SIGINT; the exit code of the process.

    Raises AgentError, one line for the user, if it cannot start.
    """
    state = StateDir(config.state)
    # Until there is something to reload, a reload has nothing to say.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    report = Report()
    try:
        tally.clear(state.metrics)
        return asyncio.run(_run(config, state, report))
    finally:
        report.close()
        state.close()


async def _run(config: Config, state: StateDir, report: Report) -> int:
    loop = asyncio.get_running_loop()
    _check_access_log(config.access_log)
    files = descriptors.raise_limit()
    limits = descriptors.fitted(config.limits, files)
    warning = descriptors.warning(config.limits, limits, files)
    config = config.model_copy(update={"limits": limits})
    async with contextlib.AsyncExitStack() as cleanup:
        thread = cleanup.enter_context(ThreadPoolExecutor(1, "datapath"))
        opening = functools.partial(datapaths.open_datapath, config, report)
        node = Node(config, state, report, thread)
        cleanup.push_async_callback(node.close, 0.0)
        stop = _stop_on_signals(node, report)
        metrics = await cleanup.enter_async_context(_serve_metrics(config, state, node))
        await node.start(loop.run_in_executor(thread, opening))
        admin = Admin(node, metrics)
        await cleanup.enter_async_context(_serve_admin(state, admin))
        watch = Watch(node.inputs.paths, node.changed)
        async with _running(watch.run, node.keep, node.record, node.clockwork.run, report=report):
            if warning:
                report.info(warning)
            _say_started(node, metrics, report)
            await stop.wait()
        report.info("draining")
        aborted = await node.close(config.limits.drain_timeout + _DRAIN_MARGIN)
        report.info(f"stopped; {aborted} connections were cut short" if aborted else "stopped")
    return 0


def _check_access_log(log: str) -> None:
    """Raises AgentError where workers could not write to it: here, since each would say so."""
    try:
        recorder.check_log(log)
    except OSError as error:
        raise AgentError(f"access_log: {log}: {reason(error)}; set another file, or off") from None


def _stop_on_signals(node: Node, report: Report) -> asyncio.Event:
    """SIGHUP reloads; SIGTERM and SIGINT set the event, and the second one drains no longer."""
    stop = asyncio.Event()

    def asked() -> None:
        if stop.is_set():
            report.info("asked again: not waiting for what is in progress")
            node.pool.kill()
        stop.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, node.reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    return stop


async def _forever(background: Callable[[], Awaitable[None]], report: Report) -> None:
    """Run what should never end; a fault in it must not end the agent, whose workers serve on."""
    while True:
        try:
            await background()
        except Exception as error:
            report.error(f"internal error: {type(error).__name__}: {error}")
        await asyncio.sleep(_AGAIN_SECONDS)


@contextlib.asynccontextmanager
async def _running(
    *background: Callable[[], Awaitable[None]], report: Report
) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(_forever(each, report)) for each in background]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _serve_metrics(
    config: Config, state: StateDir, node: Node
) -> AsyncIterator[Endpoint | None]:
    """Serve the metrics; gives the address, whose port the kernel may have chosen."""
    wanted = config.metrics.listen
    if wanted is None:
        yield None
        return
    server = HttpServer(Scrape(node, state.metrics).answer)
    try:
        listening = await asyncio.start_server(
            server.serve, str(wanted.address), wanted.port, limit=HEAD_BYTES
        )
    except OSError as error:
        raise AgentError(
            f"metrics.listen: {wanted}: {reason(error)}; set another address, or off"
        ) from None
    async with _closing(listening, server):
        yield endpoint(listening.sockets[0].getsockname())


@contextlib.asynccontextmanager
async def _serve_admin(state: StateDir, admin: Admin) -> AsyncIterator[None]:
    """Serve the admin socket, for the owner of the agent only."""
    path = state.admin_socket
    server = HttpServer(admin.answer)
    try:
        path.unlink(missing_ok=True)
        former = os.umask(0o177)
        try:
            listening = await asyncio.start_unix_server(server.serve, path, limit=HEAD_BYTES)
        finally:
            os.umask(former)
    except OSError as error:
        raise AgentError(f"{path}: the admin socket cannot be opened: {reason(error)}") from None
    async with _closing(listening, server):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def _closing(listening: asyncio.Server, server: HttpServer) -> AsyncIterator[None]:
    try:
        yield
    finally:
        listening.close()
        server.close()


def _say_started(node: Node, metrics: Endpoint | None, report: Report) -> None:
    parts = [f"datapath {node.mode}", f"workers {len(node.pool.status())}"]
    if node.mode == "userspace":
        where = ", ".join(node.listener_addresses()) or "nothing, since proxy.listen is empty"
        parts.append(f"listening on {where}")
    parts.append(f"metrics on {metrics or 'nothing'}")
    if node.snapshot is None:
        parts.insert(0, "every request is refused until there are good policies and workloads")
        report.info(f"not ready: {'; '.join(parts)}")
    else:
        report.info(f"ready: {'; '.join(parts)}; policy revision {node.snapshot.revision}")
        _warn_of_unknown_workloads(node, node.snapshot.workloads, report)


def _warn_of_unknown_workloads(node: Node, workloads: Sequence[Workload], report: Report) -> None:
    """Listeners in userspace mode whose workload is not known serve nobody."""
    known = {workload.id for workload in workloads}
    for listener in node.config.proxy.listen if node.mode == "userspace" else ():
        if listener.workload not in known:
            report.info(
                f"warning: proxy.listen: {listener.address}: no workload {listener.workload};"
                " connections are refused until there is one"
            )
