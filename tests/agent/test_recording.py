"""Records that come faster than their log is written wait where they come from.

Seen to fail: with ``wait_for_room`` of l7proxy/observe/writer.py or of l7proxy/agent/flows.py
always true.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from l7proxy.agent import recording
from l7proxy.agent.flows import Flows
from l7proxy.limits import Limits
from l7proxy.observe.flows import RequestRecord
from l7proxy.observe.recorder import RecorderSettings
from tests.observe.records import record
from tests.support.waiting import eventually

COUNT = 20_000
PIECE, PAUSE = 65536, 0.005
"""What the log's reader takes, and how long it then does something else."""


class Source:
    """COUNT records, and then no more."""

    def __init__(self) -> None:
        self._left = COUNT
        self._record = record(path=b"/" + b"x" * 400)

    def read(self, most: int) -> Sequence[RequestRecord] | None:
        if not self._left:
            return None
        given = min(most, self._left)
        self._left -= given
        return [self._record] * given


def slow_reader(fd: int, into: bytearray) -> None:
    while piece := os.read(fd, PIECE):
        into.extend(piece)
        time.sleep(PAUSE)


def test_a_slow_log_gets_every_record(tmp_path: Path) -> None:
    path = tmp_path / "log"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    flows = Flows(RecorderSettings("worker-1", log=str(path)), Limits())
    os.set_blocking(fd, True)
    written = bytearray()
    reader = threading.Thread(target=slow_reader, args=(fd, written), daemon=True)
    reader.start()
    asyncio.run(recording.publish(Source().read, flows, 10**9))
    eventually(lambda: written.count(b"\n") + flows.lost >= COUNT, 60)
    flows.close()
    os.close(fd)
    assert flows.lost == 0
    assert written.count(b"\n") == COUNT
