"""Processes that die or stand still."""

from __future__ import annotations

import os
import signal
import time

from tests.faults import wrk
from tests.faults.fault import ALL, HELD, PROXY, Fault
from tests.faults.samples import Metric, Samples, total
from tests.faults.town import PATIENCE, Town
from tests.support.waiting import eventually

FLOOD_SECONDS = 8
STARTED = total("l7proxy_agent_process_start_time_seconds", least=2.0)
LATE = total("l7proxy_agent_late_seconds_total")
_DURATION = "hubble_http_request_duration_seconds"


def _slow_answers(samples: Samples) -> float:
    count, quick = total(f"{_DURATION}_count"), total(f"{_DURATION}_bucket", 'le="1.0"')
    return count.value(samples) - quick.value(samples)


def agent_killed(town: Town) -> None:
    """SIGKILL, and started again by whoever watches over it."""
    town.agent.kill()
    town.agent.start()


def agent_stopped(town: Town) -> None:
    """SIGTERM, and started again."""
    town.agent.stop()
    town.agent.start()


def worker_killed(town: Town) -> None:
    """SIGKILL to each of them; the agent starts others."""
    before = town.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: town.workers() and not set(town.workers()) & set(before), PATIENCE)


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


def agent_killed_in_a_flood(town: Town) -> None:
    """SIGKILL and a new start while many clients ask what is allowed and what is refused."""
    with wrk.flood(town, FLOOD_SECONDS):
        time.sleep(HELD)
        agent_killed(town)


def agent_frozen_in_a_flood(town: Town) -> None:
    """SIGSTOP, until far more refusals than the ring has room for have been told."""
    with wrk.flood(town, FLOOD_SECONDS):
        assert town.agent.process is not None
        town.agent.process.send_signal(signal.SIGSTOP)
        time.sleep(2 * HELD)
        town.agent.process.send_signal(signal.SIGCONT)


FAULTS = {
    "agent killed": Fault(agent_killed, STARTED, PROXY),
    "agent stopped and started": Fault(agent_stopped, STARTED, PROXY),
    "agent frozen": Fault(agent_frozen, LATE),
    "agent killed in a flood": Fault(agent_killed_in_a_flood, STARTED, PROXY),
    "agent frozen in a flood": Fault(
        agent_frozen_in_a_flood, total("l7proxy_flow_events_lost_total"), away=HELD
    ),
    "workers killed": Fault(worker_killed, total("l7proxy_worker_restarts_total"), PROXY),
    "server frozen": Fault(
        server_frozen, Metric(f"{_DURATION} over 1 s", _slow_answers), ALL, HELD
    ),
}
