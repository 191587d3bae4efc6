"""Ends the connections that the kernel has given up.

A program can let nothing more through, but it cannot close a connection. It puts a record in the
queue ``doomed``, and the agent resets the connection after a while: a client that was told why
has to have read it, and a reset throws away what is on its way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from l7proxy.datapath import connections, libbpf, netns
from l7proxy.datapath.layout import Table
from l7proxy.datapath.names import Doom
from l7proxy.datapath.slots import Namespace
from l7proxy.datapath.store import Store

_AT_ONCE = tuple(Doom).index(Doom.UNDECIDED)
"""Nobody was told anything, and it may be that no program holds the connection."""

# Bounds on one call. Most of the doomed end by themselves, which is quickly found out.
_TAKEN = 16384  # as many as the queue holds
_FORMER = 2048
_NAMESPACES = 16  # listing one's sockets takes milliseconds
_RESETS = 1024

_LIVE = connections.ALL & ~connections.LISTENING


@dataclass(frozen=True, slots=True)
class _Record:
    """A connection that has to go, by its server's socket; ``due`` is a time of the clock."""

    cookie: int
    netns: int
    due: float


class Reaper:
    """Takes the records, and carries them out when they are due."""

    def __init__(self, store: Store, namespaces: Iterable[Namespace], grace: float) -> None:
        """``namespaces``: the covered ones, asked anew each time. ``grace``: in seconds."""
        self.resets = 0
        """How many connections were there to reset, so far."""
        self._namespaces = namespaces
        self._grace = grace
        self._waiting: deque[_Record] = deque()
        self._urgent: deque[_Record] = deque()
        self._doomed: Table | None = None
        if "doomed" in store.layouts:
            self._doomed = store.table("doomed")
            self._exchanges = store.table("exchanges")
            # An agent before this one has taken records that it may not have carried out.
            self._former = list(self._exchanges.keys())

    def reap(self, now: float) -> None:
        """One round; does nothing where there is no kernel road. ``now``: monotonic seconds.

        Raises OSError for the first failure, after it has done what could be done. A connection
        that could not be reset stays as it is, dead for both ends until they give it up.
        """
        if self._doomed is None:
            return
        self._take(self._doomed, now)
        self._take_former(now)
        failure: OSError | None = None
        places = {each.cookie: each for each in self._namespaces}
        for cookie, victims in self._due(now).items():
            place = places.get(cookie)
            if place is None:
                continue  # nobody is judged there any more
            try:
                with netns.entered(place.descriptor):
                    self.resets += connections.reset(list(connections.sockets(_LIVE, victims)))
            except OSError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _take(self, doomed: Table, now: float) -> None:
        for _ in range(_TAKEN):
            packed = libbpf.queue_pop(doomed.fd, doomed.value.size)
            if packed is None:
                return
            record = doomed.value.unpack(packed)
            if record["reason"] == _AT_ONCE:
                self._urgent.append(_Record(record["exchange"], record["netns"], now))
            else:
                self._wait(record["exchange"], record["netns"], now)

    def _take_former(self, now: float) -> None:
        some, self._former = self._former[:_FORMER], self._former[_FORMER:]
        for key in some:
            cookie = int.from_bytes(key, "little")
            exchange = self._exchanges.get(cookie)
            if exchange is not None and exchange["dead"]:
                self._wait(cookie, exchange["netns"], now)

    def _wait(self, cookie: int, namespace: int, now: float) -> None:
        self._waiting.append(_Record(cookie, namespace, now + self._grace))

    def _due(self, now: float) -> dict[int, set[int]]:
        """Whom to reset now: cookies by namespace. The rest stays for another round."""
        found: dict[int, set[int]] = {}
        for _ in range(_RESETS):
            queue = self._next(now)
            if queue is None:
                break
            namespace = queue[0].netns
            if namespace not in found and len(found) == _NAMESPACES:
                break
            found.setdefault(namespace, set()).add(queue.popleft().cookie)
        return found

    def _next(self, now: float) -> deque[_Record] | None:
        """The queue whose first record is to be carried out; drops those that ended by then."""
        if self._urgent:
            return self._urgent
        while self._waiting and self._waiting[0].due <= now:
            if self._is_open(self._waiting[0].cookie):
                return self._waiting
            self._waiting.popleft()
        return None

    def _is_open(self, cookie: int) -> bool:
        """What is kept of a connection goes when its server's end closes."""
        key, size = self._exchanges.key.pack(cookie), self._exchanges.value.size
        return libbpf.map_lookup(self._exchanges.fd, key, size) is not None
