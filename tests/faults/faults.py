"""What goes wrong, one function each. Each makes the fault, ends it, and returns."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from tests.faults.town import KERNEL_PORT, PROXY_PORT, Town
from tests.support.waiting import eventually

PATIENCE = 20.0
HELD = 2.0
"""Seconds that something stays frozen or away: shorter than every time-out of the product."""
SLOW_CLIENTS = 500
GARBAGE = (b"\0\xff" * 500, b"a: [", b"kind: L7Policy\nspec: 7\n", b"- " * 5000)


@dataclass(frozen=True, slots=True)
class Fault:
    """``make`` returns when the fault is over. ``roads``: those whose clients may lose requests.
    ``away``: seconds that the fault itself keeps somebody from being served."""

    make: Callable[[Town], None]
    roads: frozenset[str] = frozenset()
    away: float = 0.0


def agent_killed(town: Town) -> None:
    """SIGKILL, and started again by whoever watches over it."""
    town.agent.kill()
    town.agent.start()


def agent_stopped(town: Town) -> None:
    """SIGTERM, and started again."""
    town.agent.stop()
    town.agent.start()


def worker_killed(town: Town) -> None:
    """SIGKILL; the agent starts another."""
    before = town.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: town.workers() and not set(town.workers()) & set(before), PATIENCE)


def garbage_in_policies(town: Town) -> None:
    """Files that are no policies, in every way; the last good set stays, and the metric says so."""
    faults = town.metric("l7proxy_policy_apply_errors_total")
    names = [town.policies / f"garbage-{number}.yaml" for number in range(len(GARBAGE))]
    for path, content in zip(names, GARBAGE, strict=True):
        path.write_bytes(content)
    eventually(lambda: town.metric("l7proxy_policy_apply_errors_total") > faults, PATIENCE)
    for path in names:
        path.unlink()
    eventually(lambda: town.metric("l7proxy_policy_faults") == 0, PATIENCE)


def policies_swapped(town: Town) -> None:
    """Another set of rules with the same meaning, twenty times."""
    for number in range(20):
        town.write_policy(f"rules-{number}")
        revision = town.metric("l7proxy_policy_revision")
        town.agent.reload()
        eventually(
            lambda before=revision: town.metric("l7proxy_policy_revision") != before, PATIENCE
        )


def server_frozen(town: Town) -> None:
    """SIGSTOP, and on."""
    town.server.send_signal(signal.SIGSTOP)
    time.sleep(HELD)
    town.server.send_signal(signal.SIGCONT)


def agent_frozen(town: Town) -> None:
    """SIGSTOP, and on: the kernel decides by itself meanwhile."""
    assert town.agent.process is not None
    town.agent.process.send_signal(signal.SIGSTOP)
    time.sleep(HELD)
    town.agent.process.send_signal(signal.SIGCONT)


def slow_clients(town: Town) -> None:
    """Many that begin a request and never go on."""
    with ExitStack() as stack:
        for number in range(SLOW_CLIENTS):
            port = KERNEL_PORT if number % 2 else PROXY_PORT
            sock = stack.enter_context(town.near.connect(town.host, port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.sendall(b"GET /ok/slow HTTP/1.1\r\nHo")
        time.sleep(HELD)


def descriptors_used_up(town: Town) -> None:
    """The workers may open no more files for a while."""
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in town.workers()}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, hard))
    time.sleep(HELD)
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)


PROXY, KERNEL = frozenset({"proxy"}), frozenset({"near", "far"})
ALL = PROXY | KERNEL
FAULTS: Mapping[str, Fault] = {
    "agent killed": Fault(agent_killed, PROXY),
    "agent stopped and started": Fault(agent_stopped, PROXY),
    "worker killed": Fault(worker_killed, PROXY),
    "garbage in the policies": Fault(garbage_in_policies),
    "policies changed 20 times": Fault(policies_swapped),
    "server frozen": Fault(server_frozen, ALL, HELD),
    "agent frozen": Fault(agent_frozen),
    f"{SLOW_CLIENTS} slow clients": Fault(slow_clients),
    "no descriptors left": Fault(descriptors_used_up, PROXY, HELD),
}
