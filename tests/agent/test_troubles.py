"""The metrics of the agent's own troubles."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from tests.agent.nodes import Node, eventually

FROZEN = 1.5


def test_troubles_are_counted(prepare: Callable[..., Node]) -> None:
    node = prepare(access_log="off").start()
    assert node.metric("l7proxy_agent_late_seconds_total") == 0
    assert node.metric("l7proxy_clock_steps_total") == 0
    assert node.metric("l7proxy_agent_errors_total") == 0
    assert node.metric("l7proxy_worker_resident_memory_bytes", worker="0") > 1 << 20
    most = node.metric("l7proxy_worker_max_fds", worker="0")
    assert 0 < node.metric("l7proxy_worker_open_fds", worker="0") < most

    node.signal(signal.SIGSTOP)
    time.sleep(FROZEN)
    node.signal(signal.SIGCONT)
    eventually(lambda: node.metric("l7proxy_agent_late_seconds_total") > FROZEN / 3)
    os.kill(node.status()["workers"][0]["pid"], signal.SIGKILL)
    eventually(lambda: node.metric("l7proxy_agent_errors_total") == 1)
    assert node.metric("l7proxy_clock_steps_total") == 0
