"""The worker's one door to observation: counts, the access log, and the lines for the agent."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from l7proxy.observe import tally
from l7proxy.observe.accesslog import LineEncoder
from l7proxy.observe.flows import NO_REDACTION, Redaction, RequestRecord, lost_line
from l7proxy.observe.hub import QUEUE_BYTES
from l7proxy.observe.tally import Tally
from l7proxy.observe.writer import LineWriter
from l7proxy.policy.verdict import Road
from l7proxy.reasons import Reason

SAVE_SECONDS = 0.25
_SEND_SECONDS = 0.1

LOG_OFF = "off"
_STREAMS = {"stdout": 1, "stderr": 2}


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """What a worker is told about recording; picklable.

    ``log`` is ``off``, ``stdout``, ``stderr`` or the path of a file to append to. ``log_lock`` is
    a file that all workers which share the log can open; ``tally`` is for this worker alone.
    ``flow_bytes`` bounds the lines that wait for the agent; ``redaction`` holds for all lines.
    """

    node: str
    tally: Path | None = None
    log: str = LOG_OFF
    log_lock: Path | None = None
    flow_bytes: int = QUEUE_BYTES
    redaction: Redaction = NO_REDACTION


class Recorder:
    """Takes what happens on the hot path; nothing here blocks or raises.

    ``tally_path`` is the file the counts are saved to, four times a second if they changed, by a
    thread of its own; each of ``outputs`` gets a line per request. ``close`` saves and writes the
    rest; it does not close the descriptors of the outputs.
    """

    def __init__(
        self,
        node: str,
        tally_path: Path | None = None,
        outputs: Sequence[LineWriter] = (),
        redaction: Redaction = NO_REDACTION,
    ) -> None:
        self.tally = Tally() if tally_path is None else tally.resume(tally_path)
        self._path = tally_path
        self._outputs = tuple(outputs)
        self._encoder = LineEncoder(node, redaction)
        self._lost_before = self.tally.lost
        self._dirty = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tally", daemon=True)
        if tally_path is not None:
            self._thread.start()

    def record(self, record: RequestRecord) -> None:
        """Count a decided request, and write its line."""
        self.tally.request(record)
        if self._outputs:
            line = self._encoder.encode(record)
            for output in self._outputs:
                output.write(line)
        self._dirty = True

    def connection(self, direction: str, road: Road, reason: Reason) -> None:
        """Count an accepted connection by the road it takes; ``REFUSED`` is one."""
        self.tally.connection(direction, road, reason)
        self.tally.open_connections += road is not Road.REFUSED
        self._dirty = True

    def connection_closed(self) -> None:
        """A connection that was counted, and not refused, has ended."""
        self.tally.open_connections -= 1
        self._dirty = True

    def exchange_started(self) -> None:
        self.tally.exchanges += 1
        self._dirty = True

    def exchange_ended(self) -> None:
        self.tally.exchanges -= 1
        self._dirty = True

    def upstream_connected(self) -> None:
        """Count a new connection to a backend; one taken from the pool is none."""
        self.tally.upstream_connects += 1
        self._dirty = True

    def upstream_failed(self, reason: Reason) -> None:
        """Count a backend that could not be reached, closed early, spoke no HTTP or was silent."""
        self.tally.upstream_failed(reason)
        self._dirty = True

    def close(self) -> None:
        """Write and save everything. Recording afterwards is allowed and lost."""
        for output in self._outputs:
            output.close()
        self._stop.set()
        if self._path is not None:
            self._thread.join()
            self._save(self._path)

    def _run(self) -> None:
        assert self._path is not None
        while not self._stop.wait(SAVE_SECONDS):
            self._save(self._path)

    def _save(self, path: Path) -> None:
        lost = self._lost_before + sum(output.lost for output in self._outputs)
        if not self._dirty and lost == self.tally.lost:
            return
        self._dirty = False
        self.tally.lost = lost
        try:
            tally.save(self.tally, path)
        except (OSError, RuntimeError):
            # A full disk, or a count that appeared while they were copied: the next turn will do.
            self._dirty = True


def open_recorder(settings: RecorderSettings, flows: int | None = None) -> Recorder:
    """The recorder that ``settings`` describe. Raises OSError if the log cannot be opened.

    ``flows`` is the pipe on which the agent reads the same lines as the log gets.
    """
    log = open_log(settings)
    outputs = [] if log is None else [log]
    if flows is not None:
        outputs.append(
            LineWriter(
                flows,
                buffer_bytes=settings.flow_bytes,
                seconds=_SEND_SECONDS,
                lost_line=lambda count: lost_line(settings.node, count, time.time()),
            )
        )
    return Recorder(settings.node, settings.tally, outputs, settings.redaction)


def open_log(settings: RecorderSettings) -> LineWriter | None:
    """A writer for the access log; None if it is off. Raises OSError if it cannot be opened."""
    if settings.log == LOG_OFF:
        return None
    fd = _STREAMS.get(settings.log)
    return LineWriter(_open_log(settings.log) if fd is None else fd, settings.log_lock)


def check_log(log: str) -> None:
    """Raises OSError if workers could not open this ``RecorderSettings.log``."""
    if log != LOG_OFF and log not in _STREAMS:
        os.close(_open_log(log))


def _open_log(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
