from __future__ import annotations

import contextlib
import http.client
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from l7proxy.agent.descriptors import fitted
from l7proxy.limits import Limits
from tests.agent.nodes import Node, eventually, get


@pytest.mark.parametrize("files", [16, 64, 256, 1024, 4096, 65536, 101_087])
def test_what_does_not_fit_is_made_to(files: int) -> None:
    limits = fitted(Limits(), files)
    assert 1 <= limits.connections < Limits().connections
    assert 2 * limits.connections + limits.overload_answers + limits.pool_idle < files
    assert limits.connections >= files // 4


def test_what_fits_stays() -> None:
    assert fitted(Limits(), 101_088) == Limits()
    assert fitted(Limits(connections=8), 1104) == Limits(connections=8)


def open_files(pid: int) -> list[str]:
    """The soft and the hard limit of a process."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    [found] = [line for line in lines if line.startswith("Max open files")]
    return found.split()[3:5]


def test_workers_may_open_as_many_files_as_the_kernel_allows(prepare: Callable[..., Node]) -> None:
    node = prepare(ulimit="-Sn 200", limits={"connections": 100}).start()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    [worker] = node.worker_pids()
    assert open_files(worker) == [str(hard), str(hard)]
    assert node.status()["limits"] == {"connections": 100, "open_files": hard}
    assert "warning" not in node.errors()


def test_where_files_are_few_clients_are_told_so(prepare: Callable[..., Node]) -> None:
    node = prepare(ulimit="-n 160").start()
    limits = fitted(Limits(), 160)
    assert node.status()["limits"] == {"connections": limits.connections, "open_files": 160}
    assert (
        f"warning: limits.connections is {limits.connections} for each worker, not 50000:"
        " a process may open 160 files here; raise that hard limit to 101088"
    ) in node.errors()

    host, _, port = node.status()["listeners"][0].rpartition(":")

    def connect(stack: contextlib.ExitStack) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(
            host, int(port), 30, source_address=("127.0.0.2", 0)
        )
        stack.callback(connection.close)
        return connection

    with contextlib.ExitStack() as stack:
        held = [connect(stack) for _ in range(limits.connections)]
        assert {get(each, "/users") for each in held} == {200}
        for _ in range(limits.overload_answers):
            late = connect(stack)
            late.request("GET", "/users")
            response = late.getresponse()
            assert (response.status, response.read()[:10]) == (503, b"overloaded")
        for _ in range(200):
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                get(connect(stack), "/users")
        assert {get(each, "/users") for each in held} == {200}
    eventually(lambda: node.get("/users") == 200)
    assert node.status()["workers"][0]["restarts"] == 0


def test_running_out_of_files_hurts_only_who_comes_then(node: Node) -> None:
    [worker] = node.worker_pids()
    host, _, port = node.status()["listeners"][0].rpartition(":")
    descriptors = Path(f"/proc/{worker}/fd")
    with contextlib.ExitStack() as stack:

        def outcome() -> int | None:
            """The status that a new client, which stays, is answered with; None for a reset."""
            client = http.client.HTTPConnection(
                host, int(port), 30, source_address=("127.0.0.2", 0)
            )
            stack.callback(client.close)
            try:
                return get(client, "/users")
            except (OSError, http.client.HTTPException):
                return None

        first = stack.enter_context(contextlib.closing(node.connect()))
        assert get(first, "/users") == 200
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (32, hard))
        # As many as fit are served, the others are turned away, and nobody waits.
        assert {outcome() for _ in range(100)} == {200, None}
        assert get(first, "/users") == 200
    eventually(lambda: len([*descriptors.iterdir()]) < 30)
    assert node.get("/users") == 200
    assert node.worker_pids() == [worker]
