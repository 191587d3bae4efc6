"""Ends the connections that the kernel has given up.

A program can let nothing more through, but it cannot close a connection. It puts a record in the
queue ``doomed``, and the agent resets the connection after a while: a client that was told why
has to have read it, and a reset throws away what is on its way. Answers to requests from before
are waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from l7proxy.datapath import connections, libbpf, netns
from l7proxy.datapath.layout import Table
from l7proxy.datapath.names import PHASE_BOUNDARY, Doom
from l7proxy.datapath.slots import Namespace
from l7proxy.datapath.store import Store

_DOOMS = tuple(Doom)
_AT_ONCE = Doom.UNDECIDED, Doom.UNTOLD
"""The client was told nothing, or no end; of the first it may be that no program holds it."""
_HOPELESS = Doom.UNANSWERED
"""Of what is owed, something never comes."""

# Bounds on one call. Most of the doomed end by themselves, which is quickly found out.
_TAKEN = 16384  # as many as the queue holds
_FORMER = 2048
_NAMESPACES = 16  # listing one's sockets takes milliseconds
_RESETS = 1024

TOLD_WHY = frozenset({Doom.REFUSED, Doom.BROKEN})
"""Of these an answer has told the client."""
_RECORDED = TOLD_WHY | {Doom.UNTOLD}
"""Of these the request that was refused has a record."""

Tell = Callable[[dict[str, Any], Doom], None]
"""Of a connection that has to end: its struct http, and why."""

_LIVE = connections.ALL & ~connections.LISTENING


@dataclass(frozen=True, slots=True)
class _Record:
    """A connection that has to go, by its server's socket, when it is ``due``; if something is owed
    to its client, later, but not after ``end``. Both are times of the clock."""

    cookie: int
    netns: int
    due: float
    end: float


class Reaper:
    """Takes the records, and carries them out when they are due."""

    def __init__(
        self,
        store: Store,
        namespaces: Iterable[Namespace],
        grace: float,
        patience: float,
        tell: Tell = lambda exchange, doom: None,
    ) -> None:
        """``namespaces``: the covered ones, asked anew each time.

        ``grace`` is given to all, ``patience`` at most to those that are owed something; seconds.
        ``tell`` hears of every connection that has to end and of which no record says why.
        """
        self.resets = 0
        """How many connections were there to reset, so far."""
        self._namespaces = namespaces
        self._grace = grace
        self._patience = patience
        self._tell = tell
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
                    self.resets += connections.reset(self._ripe(victims, now))
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
            reason = _DOOMS[record["reason"]]
            if reason not in _RECORDED and (exchange := self._exchanges.get(record["exchange"])):
                self._tell(exchange, reason)
            if reason in _AT_ONCE:
                self._urgent.append(_Record(record["exchange"], record["netns"], now, now))
            else:
                patience = 0.0 if reason is _HOPELESS else self._patience
                self._wait(record["exchange"], record["netns"], now, patience)

    def _take_former(self, now: float) -> None:
        some, self._former = self._former[:_FORMER], self._former[_FORMER:]
        for key in some:
            cookie = int.from_bytes(key, "little")
            exchange = self._exchanges.get(cookie)
            if exchange is not None and exchange["dead"]:
                self._wait(cookie, exchange["netns"], now, self._patience)

    def _wait(self, cookie: int, namespace: int, now: float, patience: float) -> None:
        due = now + self._grace
        self._waiting.append(_Record(cookie, namespace, due, max(due, now + patience)))

    def _put_off(self, record: _Record, now: float) -> None:
        self._waiting.append(replace(record, due=now + self._grace))

    def _ripe(self, victims: dict[int, _Record], now: float) -> list[connections.OpenSocket]:
        """The sockets of those that have nothing left to send; the others wait on."""
        ripe = []
        for sock in connections.sockets(_LIVE, victims):
            if sock.unsent and now < victims[sock.cookie].end:
                self._put_off(victims[sock.cookie], now)
            else:
                ripe.append(sock)
        return ripe

    def _due(self, now: float) -> dict[int, dict[int, _Record]]:
        """Whom to reset now: by namespace, by cookie. The rest stays for another round."""
        found: dict[int, dict[int, _Record]] = {}
        for _ in range(_RESETS):
            queue = self._next(now)
            if queue is None:
                break
            namespace = queue[0].netns
            if namespace not in found and len(found) == _NAMESPACES:
                break
            record = queue.popleft()
            found.setdefault(namespace, {})[record.cookie] = record
        return found

    def _next(self, now: float) -> deque[_Record] | None:
        """The queue whose first record is to be carried out; drops those that ended by then."""
        if self._urgent:
            return self._urgent
        while self._waiting and self._waiting[0].due <= now:
            record = self._waiting[0]
            exchange = self._exchanges.get(record.cookie)  # goes when the server's end closes
            if exchange is not None and not (_is_owed(exchange) and now < record.end):
                return self._waiting
            self._waiting.popleft()
            if exchange is not None:
                self._put_off(record, now)
        return None


def _is_owed(exchange: dict[str, int]) -> bool:
    """Whether an answer is missing that has not begun: the end of one is not always seen."""
    made, answered = exchange["ledger"] >> 32, exchange["ledger"] & 0xFFFFFFFF
    begun = exchange["answer_lost"] or exchange["answer_phase"] != PHASE_BOUNDARY
    return made != answered and not begun
