"""Upstream connections, kept for reuse per (namespace, destination), the most recent one first.

``IdleStack`` decides and does no I/O; ``Pool`` and ``Destination`` act on what it decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from l7proxy.limits import Limits
from l7proxy.proxy.ports import Dialer, Endpoint
from l7proxy.proxy.timers import NEVER, Timers
from l7proxy.proxy.upstream import UpstreamConnection

C = TypeVar("C")


class IdleStack(Generic[C]):
    """Idle connections to one destination: last in, first out, so that the rest can expire."""

    __slots__ = ("_idle", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle: dict[C, None] = {}

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> C | None:
        """The connection used last, no longer idle; None when there is none."""
        return self._idle.popitem()[0] if self._idle else None

    def put(self, connection: C) -> C | None:
        """Keeps a connection; answers the one to close instead: the stalest, past the limit."""
        self._idle[connection] = None
        if len(self._idle) <= self._limit:
            return None
        stalest = next(iter(self._idle))
        del self._idle[stalest]
        return stalest

    def discard(self, connection: C) -> None:
        """Forgets a connection that closed; harmless when it was not idle."""
        self._idle.pop(connection, None)


class Waiter(Protocol):
    """Who asked for a connection."""

    @property
    def waiting(self) -> bool:
        """Whether the connection is still wanted."""

    def connected(self, upstream: UpstreamConnection) -> None:
        """Here it is."""

    def connect_failed(self, detail: str) -> None:
        """There is none: the destination could not be reached."""


class Destination:
    """One address in one namespace, and the idle connections to it."""

    __slots__ = ("__weakref__", "_idle", "_pool", "endpoint", "netns")

    def __init__(self, pool: Pool, endpoint: Endpoint, netns: str | None) -> None:
        self.endpoint = endpoint
        self.netns = netns
        self._pool = pool
        self._idle: IdleStack[UpstreamConnection] = IdleStack(pool.limits.pool_idle)

    @property
    def limits(self) -> Limits:
        """The worker's limits."""
        return self._pool.limits

    @property
    def idle(self) -> int:
        """How many connections wait for reuse."""
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """An idle connection that is still open as far as is known."""
        while (upstream := self._idle.take()) is not None:
            if upstream.usable:
                upstream.deadline = NEVER
                return upstream
        return None

    def put(self, upstream: UpstreamConnection) -> None:
        """Takes back a connection that is between two exchanges, with nothing unread."""
        pool = self._pool
        if pool.closed or not upstream.usable:
            upstream.close()
            return
        upstream.deadline = pool.timers.clock() + pool.limits.pool_timeout
        surplus = self._idle.put(upstream)
        if surplus is not None:
            surplus.close()

    def forget(self, upstream: UpstreamConnection) -> None:
        """A connection closed; it may have been idle."""
        self._idle.discard(upstream)

    def connect(self, waiter: Waiter) -> None:
        """Opens a connection and hands it to ``waiter``, or to the pool if it gave up."""
        self._pool.spawn(self, waiter)

    def close_idle(self) -> None:
        """Closes what is idle now."""
        while (upstream := self._idle.take()) is not None:
            upstream.close()


class Pool:
    """All destinations of a worker. ``on_connect`` is called for every new connection."""

    def __init__(
        self, dialer: Dialer, limits: Limits, timers: Timers, on_connect: Callable[[], None]
    ) -> None:
        self.limits = limits
        self.timers = timers
        self.closed = False
        self._dialer = dialer
        self._on_connect = on_connect
        self._destinations: WeakValueDictionary[tuple[Endpoint, str | None], Destination] = (
            WeakValueDictionary()
        )
        self._connecting: set[asyncio.Task[None]] = set()

    def destination(self, endpoint: Endpoint, netns: str | None) -> Destination:
        """The one object for this address; it lives as long as somebody uses it."""
        key = (endpoint, netns)
        found = self._destinations.get(key)
        if found is None:
            found = self._destinations[key] = Destination(self, endpoint, netns)
        return found

    def spawn(self, destination: Destination, waiter: Waiter) -> None:
        """Starts connecting. The task outlives a waiter that gives up: it is bounded by the
        dialer's timeout, and its connection serves the next request."""
        task = asyncio.get_running_loop().create_task(self._connect(destination, waiter))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def close(self) -> None:
        """Closes every idle connection and stops connecting; later returns are closed too."""
        self.closed = True
        for task in tuple(self._connecting):
            task.cancel()
        for destination in tuple(self._destinations.values()):
            destination.close_idle()

    async def _connect(self, destination: Destination, waiter: Waiter) -> None:
        try:
            upstream = await self._open(destination)
        except OSError as error:
            if waiter.waiting:
                waiter.connect_failed(_cause(error))
            return
        self._on_connect()
        if waiter.waiting:
            waiter.connected(upstream)
        else:
            destination.put(upstream)

    async def _open(self, destination: Destination) -> UpstreamConnection:
        sock = await self._dialer.connect(destination.endpoint, destination.netns)
        upstream = UpstreamConnection(destination, self.timers, self._dialer, sock)
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: upstream, sock=sock)
        except BaseException:
            upstream.release()
            sock.close()
            raise
        upstream.limit_buffer(self.limits.body_buffer)
        return upstream


def _cause(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "connect timed out"
    return error.strerror or str(error)
