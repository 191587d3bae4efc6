"""What an idle client connection costs the agent in memory."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack, closing

from l7proxy.demo.client import exchange
from loadtest import processes, subjects
from loadtest.found import Found
from loadtest.progress import Progress
from loadtest.rounds import Aim, Claim, Series

CONNECTIONS = 10_000
MAX_BYTES = 30_000
LONG = 3600.0
WORKERS = 2
EXPECTED = 1
"""How many measurements are made."""


def measure(progress: Progress, connections: int) -> Found:
    """Bytes per connection, each of which made one request and then fell silent."""
    allow_descriptors(connections + 100)
    limits = {"idle_timeout": LONG, "connections": connections + 100}
    # A worker allows half as many connections as it may open files, which often are 20,000.
    with subjects.alone(limits, workers=WORKERS) as alone, ExitStack() as stack:
        alone.agent.start()
        assert alone.agent.process is not None
        progress(f"{connections} idle connections")
        # The first few make the agent load what it needs for any.
        _open(stack, alone.listener, 50)
        before = processes.memory(alone.agent.process.pid)
        _open(stack, alone.listener, connections)
        after = processes.memory(alone.agent.process.pid)
        progress.measured()
    found = Series("memory per idle connection", "bytes", ((after - before) / connections,))
    return Found([found], [Claim(found, Aim(MAX_BYTES, at_least=False))])


def _open(stack: ExitStack, listener: tuple[str, int], count: int) -> None:
    for _ in range(count):
        connection = stack.enter_context(closing(socket.create_connection(listener)))
        connection.settimeout(30.0)
        outcome = exchange(connection, "GET", "/users/7")
        if outcome.status != 200:
            raise RuntimeError(f"an idle connection got {outcome}")


def allow_descriptors(count: int) -> None:
    """Let this process, and those that it starts, have so many files open, if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
