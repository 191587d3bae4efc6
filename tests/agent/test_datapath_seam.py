"""How the agent uses a datapath: one that works, one that fails, one whose listeners change."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from l7proxy.agent.datapaths import Opened, open_datapath
from l7proxy.agent.errors import AgentError
from l7proxy.agent.node import Node as AgentNode
from l7proxy.agent.places import places
from l7proxy.agent.report import Report
from l7proxy.agent.statedir import StateDir
from l7proxy.config import load, parse_endpoint
from l7proxy.datapath.port import DatapathError, Listener
from l7proxy.observe.flows import RequestRecord
from l7proxy.observe.tally import Tally
from l7proxy.policy.model import PolicySet
from l7proxy.proxy.ports import Endpoint
from l7proxy.proxy.userspace import ListenSpec
from l7proxy.workloads.model import Workload
from tests.agent.nodes import FRONTEND, Backend, Node, eventually, get


class FakeDatapath:
    """Remembers what it was told; ``fault`` makes it refuse the next set, ``hitch`` makes tending
    fail."""

    def __init__(self, backend: Backend) -> None:
        self.applied: list[int] = []
        self.fault: str | None = None
        self.hitch: str | None = None
        self.tended = 0
        self.offered: list[Listener] = []
        self.closed = False
        self.told: list[RequestRecord] = []
        self.counted = Tally()
        self._backend = backend

    def listen(self, key: str) -> tuple[str, int]:
        sock = socket.create_server(("127.0.0.1", 0))
        self.offered = [each for each in self.offered if each.key != key]
        spec = ListenSpec(endpoint_of(self._backend), "default/users")
        self.offered.append(Listener(key, 0, sock, spec))
        name: tuple[str, int] = sock.getsockname()
        return name

    def apply(self, policies: PolicySet, workloads: Sequence[Workload], revision: int) -> None:
        if self.fault is not None:
            raise DatapathError(self.fault)
        self.applied.append(revision)

    def tend(self) -> None:
        self.tended += 1
        if self.hitch is not None:
            raise DatapathError(self.hitch)

    def listeners(self) -> Sequence[Listener]:
        return tuple(self.offered)

    @property
    def no_room(self) -> frozenset[str]:
        return frozenset()

    def adapter_options(self) -> Mapping[str, Any]:
        return {}

    def status(self) -> Mapping[str, Any]:
        return {"tables": {"identities": 7}, "table_limits": {"identities": 100}}

    def counters(self) -> Mapping[str, int]:
        return {"short_circuit_bytes": 5}

    def records(self, most: int) -> Sequence[RequestRecord]:
        told, self.told = self.told[:most], self.told[most:]
        return told

    def tally(self) -> Tally:
        return self.counted

    def close(self) -> None:
        for listener in self.offered:
            listener.sock.close()
        self.closed = True


def endpoint_of(backend: Backend) -> Endpoint:
    return parse_endpoint(f"127.0.0.1:{backend.port}")


@contextlib.asynccontextmanager
async def started(node: Node, datapath: FakeDatapath) -> AsyncIterator[AgentNode]:
    """An agent's core in this process, with one worker process."""
    config = load(node.config)
    state = StateDir(config.state)
    with ThreadPoolExecutor(1) as thread:
        report = Report()
        agent = AgentNode(config, state, report, thread)
        try:
            await agent.start(asyncio.sleep(0, Opened(datapath, "userspace", "a test")))
            keeper = asyncio.create_task(agent.keep())
            yield agent
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        finally:
            await agent.close(0.0)
            report.close()
            state.close()


async def until(holds: Callable[[], Any]) -> None:
    await asyncio.to_thread(eventually, holds)


def ask(address: tuple[str, int], path: str) -> int:
    connection = http.client.HTTPConnection(*address, 30, source_address=(FRONTEND, 0))
    with contextlib.closing(connection):
        return get(connection, path)


@pytest.fixture
def prepared(prepare: Any) -> Node:
    node: Node = prepare(proxy={"workers": 1})
    return node


def test_a_set_that_the_datapath_refuses_is_taken_back_from_the_workers(
    prepared: Node, backend: Backend, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        datapath = FakeDatapath(backend)
        address = datapath.listen("a")
        async with started(prepared, datapath) as agent:
            assert datapath.applied == [1]
            datapath.fault = "the table is full; raise limits.workloads"
            prepared.allow("/new")
            agent.reload()
            await until(lambda: agent.apply_errors == 1)
            assert await asyncio.to_thread(ask, address, "/users") == 200
            assert await asyncio.to_thread(ask, address, "/new") == 403
            assert (agent.snapshot and agent.snapshot.revision) == 1
            await until(lambda: agent.faults == 1)

            prepared.allow("/users")
            agent.reload()
            await until(lambda: agent.faults == 0)

            datapath.fault = None
            prepared.allow("/newer")
            agent.reload()
            await until(lambda: len(datapath.applied) == 2)
            await until(lambda: agent.snapshot and agent.snapshot.revision == datapath.applied[1])
            assert await asyncio.to_thread(ask, address, "/newer") == 200

    asyncio.run(scenario())
    assert "datapath: the table is full; raise limits.workloads" in capfd.readouterr().err


def test_listeners_come_and_go(prepared: Node, backend: Backend) -> None:
    async def scenario() -> None:
        datapath = FakeDatapath(backend)
        async with started(prepared, datapath) as agent:
            first = datapath.listen("a")
            agent.changed()
            await until(lambda: len(agent.pool.listeners) == 1)
            assert await asyncio.to_thread(ask, first, "/users") == 200

            # The same workload in a namespace made anew: another socket under the same name.
            former = datapath.offered[0].sock
            second = datapath.listen("a")
            agent.changed()
            await until(lambda: agent.pool.listeners[0].sock is not former)
            former.close()
            assert await asyncio.to_thread(ask, second, "/users") == 200
            with pytest.raises(ConnectionRefusedError):
                await asyncio.to_thread(ask, first, "/users")

            datapath.offered.pop().sock.close()
            agent.changed()
            await until(lambda: not agent.pool.listeners)
            await until(lambda: refused(second))

    asyncio.run(scenario())


def refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_first_set_that_the_datapath_refuses_leaves_workers_that_refuse(
    prepared: Node, backend: Backend
) -> None:
    async def scenario() -> None:
        datapath = FakeDatapath(backend)
        address = datapath.listen("a")
        datapath.fault = "no room"
        async with started(prepared, datapath) as agent:
            assert agent.snapshot is None
            await until(lambda: agent.pool.restarts == 1 and agent.pool.status()[0].ready)
            assert await asyncio.to_thread(ask, address, "/users") == 503
            assert backend.seen == []

    asyncio.run(scenario())


def test_places_that_come_and_go_are_programmed_anew(
    prepared: Node, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [("/run/netns/users", 1)]
    monkeypatch.setattr("l7proxy.agent.node.places", lambda _: tuple(found))

    async def scenario() -> None:
        datapath = FakeDatapath(backend)
        async with started(prepared, datapath):
            monkeypatch.setattr(AgentNode, "mode", "ebpf")
            await until(lambda: len(datapath.applied) == 2)
            found[0] = ("/run/netns/users", 2)
            await until(lambda: len(datapath.applied) == 3)
            assert set(datapath.applied) == {1}

    asyncio.run(scenario())


def test_tending_goes_on_and_what_hinders_it_is_said_once(
    prepared: Node, backend: Backend, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        datapath = FakeDatapath(backend)
        datapath.hitch = "cannot reset connections"
        async with started(prepared, datapath) as agent:
            await until(lambda: datapath.tended >= 3)
            agent.changed()
            await until(lambda: datapath.tended >= 4)
            datapath.hitch = "cannot list sockets"
            before = datapath.tended
            await until(lambda: datapath.tended >= before + 2)

    asyncio.run(scenario())
    said = capfd.readouterr().err
    assert said.count("error: datapath: cannot reset connections") == 1
    assert said.count("error: datapath: cannot list sockets") == 1


def test_places_are_known_by_inode(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    before = places((), tmp_path)
    (tmp_path / "users").rename(tmp_path / "kept")
    (tmp_path / "users").mkdir()

    assert before != places((), tmp_path)
    assert [name for name, _ in places((), tmp_path)] == [
        str(tmp_path / "kept"),
        str(tmp_path / "users"),
    ]
    assert places((), tmp_path / "none") == ()


def test_facts_and_status_carry_the_datapaths_own(prepared: Node, backend: Backend) -> None:
    async def scenario() -> None:
        datapath = FakeDatapath(backend)
        async with started(prepared, datapath) as agent:
            facts = await agent.facts()
            assert facts.tables == {"identities": 7, "policies": 1, "rules": 1, "workloads": 3}
            assert facts.table_limits == {"identities": 100}
            assert facts.datapath_counters == {"short_circuit_bytes": 5}
            await agent.close(0.0)
            assert datapath.closed
            assert (await agent.facts()).datapath_counters == {}

    asyncio.run(scenario())


def test_auto_says_in_one_line_why_ebpf_does_not_work_here(
    prepared: Node, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def no_kernel(*_: object) -> None:
        raise DatapathError("no permission for bpf(): run as root")

    monkeypatch.setattr("l7proxy.agent.datapaths._kernel", no_kernel)
    config = load(prepared.config)

    report = Report()
    opened = open_datapath(config.model_copy(update={"datapath": "auto"}), report)
    opened.datapath.close()
    report.close()
    assert (opened.mode, opened.why) == ("userspace", "no permission for bpf(): run as root")
    assert capfd.readouterr().err == (
        "l7proxy: userspace mode, because eBPF does not work here:"
        " no permission for bpf(): run as root\n"
    )

    with pytest.raises(AgentError, match="datapath: ebpf: no permission"):
        open_datapath(config.model_copy(update={"datapath": "ebpf"}), report)


def test_the_state_directory_lets_the_next_agent_in(tmp_path: Path) -> None:
    first = StateDir(tmp_path)
    with pytest.raises(AgentError, match="another agent runs"):
        StateDir(tmp_path)
    first.close()
    StateDir(tmp_path).close()
