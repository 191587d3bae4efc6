"""The node's flow records in one place: the last ones are kept, and followers get new ones.

A record is one line as ``accesslog.LineEncoder`` writes it. Whoever publishes waits for nobody: a
follower that does not keep up loses records, is told how many, and the loss is counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from l7proxy.observe.flows import lost_line

KEPT = 4096
QUEUE_BYTES = 4 << 20
KEPT_HEADER = "L7proxy-Kept"
"""In the agent's answer to a follower: how many of its lines are of the past."""

_MEAN_BYTES = 4096
"""Of kept lines at most: long ones, which only an attack is full of, push out more than one."""


class Follower:
    """One reader's place in the stream; made by ``FlowHub.subscribe``, ended by ``close``."""

    def __init__(self, hub: FlowHub, wake: Callable[[], object]) -> None:
        self._hub = hub
        self._wake = wake
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._lost = 0

    def take(self) -> list[bytes]:
        """What has come since the last time, and how many did not fit behind it; maybe nothing."""
        with self._hub.lock:
            lines, lost = list(self._lines), self._lost
            self._lines.clear()
            self._bytes = self._lost = 0
        if lost:
            lines.append(lost_line(self._hub.node, lost, time.time()))
        return lines

    def close(self) -> None:
        """Get nothing more. May be repeated."""
        self._hub.leave(self)

    def offer(self, line: bytes, room: int) -> bool:
        """Queue a line if there is room for it; the hub's part, with its lock held."""
        if self._bytes + len(line) > room:
            self._lost += 1
            return False
        first = not self._lines
        self._lines.append(line)
        self._bytes += len(line)
        if first:
            self._wake()
        return True


class FlowHub:
    """Keeps the last ``capacity`` lines; what waits for one follower is at most ``queue_bytes``.

    Every method may be called by any thread. ``lost`` counts records that followers missed.
    """

    def __init__(
        self, capacity: int = KEPT, node: str = "", queue_bytes: int = QUEUE_BYTES
    ) -> None:
        self.node = node
        self.lost = 0
        self.lock = threading.Lock()
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._capacity = capacity
        self._queue_bytes = queue_bytes
        self._followers: list[Follower] = []

    @property
    def followers(self) -> int:
        return len(self._followers)

    def publish(self, line: bytes) -> None:
        """Keep one line, line end included, and offer it to every follower. Never blocks."""
        with self.lock:
            self._publish(line)

    def publish_all(self, lines: Iterable[bytes]) -> None:
        """The same for several lines, in order."""
        with self.lock:
            for line in lines:
                self._publish(line)

    def last(self, count: int | None = None) -> list[bytes]:
        """The last ``count`` lines that are kept, oldest first; all for None."""
        with self.lock:
            return self._last(count)

    def first(self, count: int) -> list[bytes]:
        """The oldest ``count`` lines that are kept."""
        return self.last()[:count]

    def subscribe(
        self, wake: Callable[[], object], last: int | None = 0
    ) -> tuple[list[bytes], Follower]:
        """The last lines, as ``last`` gives them, and a follower for all that come after them.

        ``wake()`` is called when the follower has something to take after it had nothing: by the
        thread that publishes, so that it must be cheap, and must not call the hub.
        """
        follower = Follower(self, wake)
        with self.lock:
            self._followers.append(follower)
            return self._last(last), follower

    def leave(self, follower: Follower) -> None:
        """End a subscription; see ``Follower.close``."""
        with self.lock:
            if follower in self._followers:
                self._followers.remove(follower)

    def _publish(self, line: bytes) -> None:
        self._kept.append(line)
        self._kept_bytes += len(line)
        while len(self._kept) > self._capacity or self._kept_bytes > self._capacity * _MEAN_BYTES:
            self._kept_bytes -= len(self._kept.popleft())
        for follower in self._followers:
            if not follower.offer(line, self._queue_bytes):
                self.lost += 1

    def _last(self, count: int | None) -> list[bytes]:
        kept = list(self._kept)
        return kept if count is None else kept[max(len(kept) - count, 0) :]
