"""Bringing the kernel's records of requests to where readers get them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from l7proxy.agent.flows import Flows
from l7proxy.observe.flows import RequestRecord

_SECONDS = 0.2
"""Between two looks."""
_AT_ONCE = 1000
"""So many fit into the room that the access log is asked for."""
_NICE = 10

Read = Callable[[int], Sequence[RequestRecord] | None]
"""What has been told since the last call, of so many pieces of news; None: there is no more."""


async def publish(read: Read, flows: Flows, rate: int) -> None:
    """Publish what is read, of ``rate`` pieces a second, until there is no more.

    Little at a time and in a thread that gives way: who is served should not notice. What the
    access log has no room for yet is not read, unless the log takes nothing at all.
    """
    most = max(1, round(rate * _SECONDS))

    def take() -> bool:
        for done in range(0, most, _AT_ONCE):
            records = read(min(_AT_ONCE, most - done))
            for record in records or ():
                flows.record(record)
            if not records or not flows.wait_for_room(_SECONDS):
                return records is not None
        return True

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "records", initializer=_give_way) as thread:
        while True:
            if not await loop.run_in_executor(thread, take):
                return
            await asyncio.sleep(_SECONDS)


def _give_way() -> None:
    """To everybody who serves requests: whoever runs goes on when this thread wakes up (sched(7)).

    On Linux priority and policy are a thread's.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_BATCH, os.sched_param(0))
