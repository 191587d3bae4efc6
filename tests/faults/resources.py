"""Descriptors, room in the kernel's maps, and slow clients."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from l7proxy.demo.client import exchange
from tests.faults.fault import HELD, MIB, PROXY, Fault
from tests.faults.samples import Metric, Samples, total
from tests.faults.town import FOLDER, KERNEL_PORT, PATIENCE, PROXY_PORT, Town
from tests.support.waiting import eventually

FEW = 8
"""Open files that a process may have: it has more already, so none can be added."""
LOOKED = 6.0
"""Seconds in which the agent does all of its regular work."""
SLOW = 10_000
ROOM = 64
"""Connections that the kernel's maps have room for, where they are to be filled."""
TOO_MANY = 100
_OPEN, _MOST = total("l7proxy_worker_open_fds"), total("l7proxy_worker_max_fds")


def _in_use(samples: Samples) -> float:
    return _OPEN.value(samples) / max(_MOST.value(samples), 1)


@contextlib.contextmanager
def _few_files(*pids: int) -> Iterator[None]:
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEW, hard))
    try:
        yield
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)


def workers_without_files(town: Town) -> None:
    """The workers may open no more files for a while, and new clients come."""
    end = time.monotonic() + HELD
    with _few_files(*town.workers()):
        while time.monotonic() < end:
            outcome = town.near.http("GET", town.host, PROXY_PORT, "/no/new", timeout=0.5)
            assert outcome.status in (None, 403, 503), f"a new client got {outcome.status}"


def agent_without_files(town: Town) -> None:
    """The agent may open no more files for a while."""
    assert town.agent.process is not None
    with _few_files(town.agent.process.pid):
        time.sleep(LOOKED)
    eventually(town.scrape, PATIENCE)


def maps_full(town: Town) -> None:
    """More connections than the kernel can keep in mind. The proxy has to take the others: the
    server writes down whatever it gets of what is refused."""
    with contextlib.ExitStack() as stack:
        statuses: list[int | None] = []
        for place in (town.near, town.far):
            for number in range(TOO_MANY):
                try:
                    made = stack.enter_context(place.connect(town.host, KERNEL_PORT, timeout=0.5))
                except OSError:
                    continue
                statuses.append(exchange(made, "GET", f"/no/full/{number}").status)
        assert set(statuses) == {403}, f"refused requests got {set(statuses)}"


@contextlib.contextmanager
def small_maps(town: Town) -> Iterator[None]:
    """An agent that loads programs with little room."""
    with town.agent_with(tracked_connections=ROOM):
        yield


def slow_clients(town: Town) -> None:
    """Half of them near, half far, on both roads: each has begun a request, and goes on by a byte
    now and then."""
    argv = [sys.executable, "-I", "-S", str(FOLDER / "slow.py"), town.host]
    argv += [f"{KERNEL_PORT},{PROXY_PORT}", str(SLOW // 2)]
    running = [
        place.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for place in (town.near, town.far)
    ]
    connected = 0
    for process in running:
        assert process.stdout is not None
        connected += int(process.stdout.readline())
    time.sleep(HELD)
    for process in running:
        process.communicate(timeout=PATIENCE)
    assert connected == SLOW, f"only {connected} of {SLOW} came in"


FAULTS = {
    "workers without descriptors": Fault(
        workers_without_files,
        Metric("l7proxy_worker_open_fds / l7proxy_worker_max_fds", _in_use, 0.5),
        PROXY,
        HELD,
    ),
    "agent without descriptors": Fault(agent_without_files, total("l7proxy_agent_errors_total")),
    "connection maps full": Fault(
        maps_full,
        total("l7proxy_datapath_events_total", 'event="kernel_road_full"'),
        around=small_maps,
    ),
    f"{SLOW:,} slow clients": Fault(
        slow_clients, total("l7proxy_connections_open", least=SLOW / 4), growth=512 * MIB
    ),
}
