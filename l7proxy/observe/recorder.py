"""The worker's one door to observation: counts, and the access log."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from l7proxy.observe import tally
from l7proxy.observe.accesslog import LineEncoder
from l7proxy.observe.flows import RequestRecord
from l7proxy.observe.tally import Tally
from l7proxy.observe.writer import LineWriter
from l7proxy.policy.verdict import Road
from l7proxy.reasons import Reason

SAVE_SECONDS = 0.25

LOG_OFF = "off"
_STREAMS = {"stdout": 1, "stderr": 2}


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """What a worker is told about recording; picklable.

    ``log`` is ``off``, ``stdout``, ``stderr`` or the path of a file to append to. ``log_lock`` is
    a file that all workers which share the log can open; ``tally`` is for this worker alone.
    """

    node: str
    tally: Path | None = None
    log: str = LOG_OFF
    log_lock: Path | None = None


class Recorder:
    """Takes what happens on the hot path; nothing here blocks or raises.

    ``tally_path`` is the file the counts are saved to, four times a second if they changed, by a
    thread of its own; ``log`` gets a line per request. Either may be None. ``close`` saves and
    writes the rest; it does not close the log's descriptor.
    """

    def __init__(
        self, node: str, tally_path: Path | None = None, log: LineWriter | None = None
    ) -> None:
        self.tally = Tally() if tally_path is None else tally.resume(tally_path)
        self._path = tally_path
        self._log = log
        self._encoder = LineEncoder(node)
        self._lost_before = self.tally.lost
        self._dirty = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tally", daemon=True)
        if tally_path is not None:
            self._thread.start()

    def record(self, record: RequestRecord) -> None:
        """Count a decided request and log it."""
        self.tally.request(record)
        if self._log is not None:
            self._log.write(self._encoder.encode(record))
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
        if self._log is not None:
            self._log.close()
        self._stop.set()
        if self._path is not None:
            self._thread.join()
            self._save(self._path)

    def _run(self) -> None:
        assert self._path is not None
        while not self._stop.wait(SAVE_SECONDS):
            self._save(self._path)

    def _save(self, path: Path) -> None:
        lost = self._lost_before + (0 if self._log is None else self._log.lost)
        if not self._dirty and lost == self.tally.lost:
            return
        self._dirty = False
        self.tally.lost = lost
        try:
            tally.save(self.tally, path)
        except (OSError, RuntimeError):
            # A full disk, or a count that appeared while they were copied: the next turn will do.
            self._dirty = True


def open_recorder(settings: RecorderSettings) -> Recorder:
    """The recorder that ``settings`` describe. Raises OSError if the log cannot be opened."""
    log = None
    if settings.log != LOG_OFF:
        fd = _STREAMS.get(settings.log)
        log = LineWriter(_open_log(settings.log) if fd is None else fd, settings.log_lock)
    return Recorder(settings.node, settings.tally, log)


def check_log(log: str) -> None:
    """Raises OSError if workers could not open this ``RecorderSettings.log``."""
    if log != LOG_OFF and log not in _STREAMS:
        os.close(_open_log(log))


def _open_log(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
