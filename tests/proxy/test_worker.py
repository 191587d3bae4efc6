"""The worker as a process: how it is told things, how it ends, and what its clients see then."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from l7proxy.limits import Limits
from l7proxy.observe.recorder import RecorderSettings
from l7proxy.policy.model import PolicySet
from l7proxy.proxy import control
from l7proxy.proxy.ports import Endpoint
from l7proxy.proxy.userspace import ListenSpec
from tests.proxy.harness import (
    LOCAL,
    USERS,
    Backend,
    Client,
    Handler,
    Peer,
    hello,
    policies,
    run,
    until,
)
from tests.proxy.launch import WorkerProcess, start_worker

M = TypeVar("M")
GET = b"GET / HTTP/1.1\r\nHost: users\r\n\r\n"


class Agent:
    """What the agent does with one worker, or with several on one port."""

    def __init__(self, folder: Path, backend: Backend) -> None:
        self.folder = folder
        self.backend = backend
        self.said: list[control.Message] = []
        self.lost = 0
        self.workers: list[WorkerProcess] = []
        self.clients: list[Client] = []
        self.port = 0
        self._revision = 0

    async def start(self, limits: Limits, count: int = 1) -> WorkerProcess:
        """Starts workers that are configured and listening on one port, without a policy."""
        for number in range(count):
            worker = await start_worker(self.said.append, self._lost)
            self.workers.append(worker)
            settings = RecorderSettings("node", log=str(self.folder / f"log-{number}"))
            worker.send(control.Configure(settings, limits))
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                listener.bind(("127.0.0.1", self.port))
                listener.listen(100)
                self.port = listener.getsockname()[1]
                spec = ListenSpec(Endpoint(LOCAL, self.backend.port), "users")
                worker.send(control.Listen("users", spec), [listener.fileno()])
            await self.heard(control.Listening, number + 1)
        return self.workers[0]

    async def apply(self, policy_set: PolicySet) -> None:
        self._revision += 1
        for worker in self.workers:
            worker.send(control.Snapshot(policy_set, (USERS,), self._revision))
        await self.heard(control.Applied, self._revision * len(self.workers))

    async def heard(self, kind: type[M], count: int = 1) -> list[M]:
        """The messages of a kind that workers sent, once there are ``count``."""
        await until(lambda: sum(isinstance(each, kind) for each in self.said) >= count)
        return [each for each in self.said if isinstance(each, kind)]

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    def log(self, number: int = 0) -> str:
        return (self.folder / f"log-{number}").read_text()

    def _lost(self) -> None:
        self.lost += 1


@contextlib.asynccontextmanager
async def agent(
    folder: Path,
    handler: Handler = hello,
    rules: str | None = "{}",
    workers: int = 1,
    **limits: Any,
) -> AsyncIterator[Agent]:
    backend = Backend(handler)
    await backend.start()
    found = Agent(folder, backend)
    try:
        await found.start(Limits(**limits), workers)
        if rules is not None:
            await found.apply(policies(folder, rules, backend.port))
        yield found
    finally:
        for client in found.clients:
            await client.close()
        for worker in found.workers:
            await worker.kill()
        await backend.stop()


def test_a_worker_refuses_until_it_has_a_policy(tmp_path: Path) -> None:
    async def test() -> None:
        async with agent(tmp_path, rules=None) as node:
            (ready,) = await node.heard(control.Ready)
            assert ready.pid == node.workers[0].process.pid
            assert (await (await node.client()).get()).status == 503
            assert node.backend.connections == []
            await node.apply(policies(tmp_path, "{path: /ok}", node.backend.port))
            client = await node.client()
            assert (await client.get(b"/ok")).status == 200
            assert (await client.get(b"/no")).status == 403

    run(test())


def test_requests_are_logged(tmp_path: Path) -> None:
    async def test() -> None:
        async with agent(tmp_path) as node:
            await (await node.client()).get(b"/logged")
            await until(lambda: "/logged" in node.log())

    run(test())


def test_several_workers_share_a_port(tmp_path: Path) -> None:
    async def test() -> None:
        async with agent(tmp_path, workers=2) as node:
            for _ in range(40):
                client = await node.client()
                assert (await client.get()).status == 200
                await client.close()
            await until(lambda: len((node.log(0) + node.log(1)).splitlines()) == 40)
            assert node.log(0)
            assert node.log(1)

    run(test())


@pytest.mark.parametrize("how", ["order", "SIGTERM"])
def test_draining_finishes_what_is_in_progress(tmp_path: Path, how: str) -> None:
    """Idle connections end, a running exchange does not, and its client is told to go."""
    go = asyncio.Event()

    async def slow(peer: Peer) -> None:
        while True:
            head = await peer.head()
            if b"/slow" in head:
                await go.wait()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def test() -> None:
        async with agent(tmp_path, slow) as node:
            worker = node.workers[0]
            idle, running = await node.client(), await node.client()
            assert (await idle.get()).status == 200
            await running.send(GET.replace(b"/ ", b"/slow ", 1))
            await until(lambda: b"/slow" in node.backend.seen)
            if how == "order":
                worker.send(control.Drain())
            else:
                worker.process.send_signal(signal.SIGTERM)
            assert await idle.closed() == b""
            with pytest.raises(OSError, match="refused"):
                await node.client()
            go.set()
            answer = await running.answer()
            assert (answer.content, answer.header(b"connection")) == (b"ok", b"close")
            assert await running.closed() == b""
            assert await worker.process.wait() == 0
            assert await node.heard(control.Drained) == [control.Drained(0)]
            await until(lambda: node.lost)

    run(test())


def test_draining_has_an_end(tmp_path: Path) -> None:
    async def never(peer: Peer) -> None:
        await peer.rest()

    async def test() -> None:
        async with agent(tmp_path, never, drain_timeout=0.2) as node:
            client = await node.client()
            await client.send(GET)
            await until(lambda: node.backend.connections)
            node.workers[0].send(control.Drain())
            with pytest.raises(ConnectionResetError):
                await client.answer()
            assert await node.workers[0].process.wait() == 0
            assert await node.heard(control.Drained) == [control.Drained(1)]

    run(test())


def test_a_killed_worker_resets_its_clients(tmp_path: Path) -> None:
    """Never an end of file, which could pass for the end of a response."""

    async def start_only(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
        await peer.rest()

    async def test() -> None:
        async with agent(tmp_path, start_only) as node:
            busy, idle = await node.client(), await node.client()
            await busy.send(b"GET / HTTP/1.0\r\n\r\n")
            await busy.head()
            assert await busy.exactly(4) == b"some"
            node.workers[0].process.kill()
            for client in (busy, idle):
                with pytest.raises(ConnectionResetError):
                    await client.rest()
            await until(lambda: refused(node.port))

    run(test())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a promise of Linux")
def test_a_worker_dies_with_its_parent(tmp_path: Path) -> None:
    """The parent is a process in between, killed without a chance to say anything."""
    script = (
        "import socket, subprocess, sys, time\n"
        "ours, theirs = socket.socketpair()\n"
        "child = subprocess.Popen([sys.executable, '-m', 'l7proxy.proxy.worker',"
        " '--control-fd', str(theirs.fileno())], pass_fds=[theirs.fileno(), ours.fileno()])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )

    async def test() -> None:
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
        )
        assert parent.stdout is not None
        pid = int(await parent.stdout.readline())
        try:
            # With an end of the channel open in the child itself, only the signal can tell it.
            await until(lambda: prctl_done(pid))
            parent.kill()
            await parent.wait()
            await until(lambda: not alive(pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    run(test())


def test_an_orphan_goes_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with agent(tmp_path) as node:
            node.workers[0].channel.close()
            assert await node.workers[0].process.wait() == 1

    run(test())


def test_listeners_come_and_go(tmp_path: Path) -> None:
    async def test() -> None:
        async with agent(tmp_path) as node:
            worker = node.workers[0]
            client = await node.client()
            assert (await client.get()).status == 200
            with socket.create_server(("127.0.0.1", 0)) as second:
                worker.send(control.Listen("bad", "no spec"), [second.fileno()])
            _, bad = await node.heard(control.Listening, 2)
            assert bad.key == "bad"
            assert "ListenSpec" in (bad.error or "")
            worker.send(control.Unlisten("users"))
            worker.send(control.Unlisten("unheard-of"))
            await until(lambda: refused(node.port))
            assert (await client.get()).status == 200

    run(test())


def test_an_order_that_fails_changes_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with agent(tmp_path) as node:
            node.workers[0].send(control.Configure(RecorderSettings("n"), adapter="magic"))
            node.workers[0].send(control.Applied(3))
            first, second = await node.heard(control.Fault, 2)
            assert "no adapter 'magic'" in first.message
            assert "Applied is no order" in second.message
            assert (await (await node.client()).get()).status == 200

    run(test())


def test_hot_reload_under_load(tmp_path: Path) -> None:
    """What both policies allow never fails; what only one allows follows the change."""

    async def test() -> None:
        async with agent(tmp_path) as node:
            both = [
                policies(tmp_path, "{path: /always}, {path: /sometimes}", node.backend.port),
                policies(tmp_path, "{path: /always}", node.backend.port),
            ]
            statuses: dict[bytes, set[int]] = {b"/always": set(), b"/sometimes": set()}
            served = 0
            stop = False

            def served_beyond(count: int) -> bool:
                return served >= count

            async def load(path: bytes) -> None:
                nonlocal served
                client = await node.client()
                while not stop:
                    statuses[path].add((await client.get(path)).status)
                    served += 1

            loads = [asyncio.ensure_future(load(path)) for path in statuses for _ in range(4)]
            for turn in range(30):
                await node.apply(both[turn % 2])
                seen = served
                await until(partial(served_beyond, seen + 20))
            stop = True
            await asyncio.gather(*loads)
            assert statuses == {b"/always": {200}, b"/sometimes": {200, 403}}
            # The answer to Applied means that no later request is decided by the old set.
            client = await node.client()
            for turn in range(10):
                await node.apply(both[turn % 2])
                assert (await client.get(b"/sometimes")).status == (200, 403)[turn % 2]

    run(test())


def test_an_idle_connection_is_cheap(tmp_path: Path) -> None:
    """The promise is 30 KB; a read buffer or a task for each would break it."""
    count = 1500

    async def test() -> None:
        async with agent(tmp_path) as node:
            pid = node.workers[0].process.pid
            for _ in range(100):
                await (await node.client()).get()
            before = resident(pid)
            for _ in range(count):
                client = await node.client()
                assert (await client.get()).status == 200
            assert (resident(pid) - before) / count < 30_000

    run(test())


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def prctl_done(pid: int) -> bool:
    """Whether the worker waits in its event loop: an epoll descriptor is there."""
    links = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(each))  # noqa: PTH115 - Path.readlink refuses such links
    return any("eventpoll" in link for link in links)


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
