"""The connection from a client: where requests begin, where they end, and how it closes.

At any time it is in one of these states, told by its attributes:

| state     | told by            | input means                        | deadline            |
|-----------|--------------------|------------------------------------|---------------------|
| idle      | no buffer          | the start of a head                | idle, silent        |
| head      | buffer             | more of the head                   | head, 408           |
| exchange  | ``user``           | its body, then pipelined requests  | the exchange's own  |
| discard   | ``discard``        | the body of a refused request      | body, silent        |
| closing   | ``closing``        | nothing: thrown away               | linger, then abort  |
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import Protocol, cast

from l7proxy.http import answers
from l7proxy.http.body import BodyReader
from l7proxy.http.head import check_partial, find_end
from l7proxy.http.refused import Refused
from l7proxy.http.request import parse_request
from l7proxy.policy.verdict import Road
from l7proxy.proxy.decisions import Decider, PolicySnapshot
from l7proxy.proxy.exchange import Exchange
from l7proxy.proxy.pool import Destination
from l7proxy.proxy.ports import Downstream, Resolver
from l7proxy.proxy.records import refused_record
from l7proxy.proxy.state import WorkerState, report_fault
from l7proxy.proxy.timers import NEVER
from l7proxy.reasons import Reason

_DEFAULT_HIGH_WATER = 65536
_NO_HEAD = -1
_LINGER_OFF = struct.pack("ii", 0, 0)


class ClientUser(Protocol):
    """What serves the client at the moment: an exchange, or a tunnel."""

    def client_data(self) -> None:
        """The connection's ``buffer`` has grown; take from it what is yours."""

    def client_eof(self) -> None:
        """The client sends no more; it may still read."""

    def client_lost(self) -> None:
        """The client is gone."""

    def client_paused(self) -> None:
        """The client does not read; what is queued for it is at the limit."""

    def client_resumed(self) -> None:
        """The client reads again."""

    def fail(self, reason: Reason) -> None:
        """End, with an error answer if that is still possible."""

    def expired(self) -> None:
        """The connection's deadline has passed."""


class ClientConnection(asyncio.Protocol):
    """One accepted connection. Idle, it holds no buffer and no task."""

    __slots__ = (
        "_address",
        "_advancing",
        "_checked",
        "_counted",
        "_decider",
        "_eof",
        "_held",
        "_reading_paused",
        "_resolver",
        "_server",
        "_snapshot",
        "_transport",
        "buffer",
        "closing",
        "deadline",
        "discard",
        "ends",
        "state",
        "user",
        "write_paused",
    )

    def __init__(self, state: WorkerState, resolver: Resolver) -> None:
        self.state = state
        self.ends: Downstream | None = None
        self.user: ClientUser | None = None
        self.buffer = b""
        self.discard: BodyReader | None = None
        self.deadline = NEVER
        self.closing = False
        self.write_paused = False
        self._resolver = resolver
        self._server: Destination | None = None
        self._snapshot: PolicySnapshot | None = None
        self._decider: Decider | None = None
        self._address = b""
        self._counted = False
        self._checked = _NO_HEAD
        self._eof = False
        self._held = False
        self._reading_paused = False
        self._advancing = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        state = self.state
        limits = state.limits
        state.clients.add(self)
        state.timers.watch(self)
        if limits.body_buffer != _DEFAULT_HIGH_WATER:
            self._transport.set_write_buffer_limits(high=limits.body_buffer)
        self.deadline = state.timers.clock() + limits.idle_timeout
        try:
            self._admit(len(state.clients) - limits.connections)
        except Exception as error:
            report_fault("accepting a connection", error)
            self.reset()

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        self.advance()

    def eof_received(self) -> bool:
        self._eof = True
        if self.closing:
            self._transport.close()
        elif self.user is not None:
            self.user.client_eof()
        elif not (self.buffer and self.write_paused):
            self.close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self.state.timers.unwatch(self)
        self.state.left(self)
        if self._counted:
            self.state.observer.connection_closed()
        user, self.user = self.user, None
        if user is not None:
            user.client_lost()

    def pause_writing(self) -> None:
        self.write_paused = True
        self.deadline = self.state.timers.clock() + self.state.limits.stream_timeout
        if self.user is not None:
            self.user.client_paused()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.user is not None:
            self.user.client_resumed()
        elif not self.closing:
            self._rest()
            self.advance()
            if self._eof and self.user is None:
                self.close()

    # For the exchange or the tunnel.

    @property
    def idle(self) -> bool:
        """Between two requests, with nothing of the next one received."""
        return self.user is None and not self.buffer and self.discard is None

    @property
    def ended(self) -> bool:
        """Whether the client sends no more."""
        return self._eof

    @property
    def address(self) -> bytes:
        """The client's address as text."""
        if not self._address and self.ends is not None:
            self._address = str(self.ends.client_endpoint.address).encode()
        return self._address

    @property
    def server(self) -> Destination | None:
        """The backend that the client meant; None while nobody knows."""
        if self._server is None and self.ends is not None:
            self._server = self.state.pool.destination(self.ends.destination, self.ends.netns)
        return self._server

    def decider(self, snapshot: PolicySnapshot) -> Decider | None:
        """What decides this client's requests under ``snapshot``; None: nobody knows who it is."""
        if self._snapshot is not snapshot or self._decider is None:
            if self.ends is None:
                self.ends = self._resolver.resolve(self._transport.get_extra_info("socket"))
            if self.ends is None:
                return None
            self._decider = snapshot.decider(self.ends)
            self._snapshot = snapshot
        return self._decider

    def write(self, data: bytes) -> None:
        """Queues bytes for the client."""
        self._transport.write(data)

    def write_eof(self) -> None:
        """Sends an end of file after what is queued; the client may still send."""
        if not self._transport.is_closing():
            self._transport.write_eof()

    def hold_reading(self, held: bool) -> None:
        """Lets the client wait, or takes its bytes again; what has come is looked at then."""
        self._held = held
        if held:
            self._settle()
        else:
            self.advance()

    def exchange_ended(self, keep: bool, discard: BodyReader | None = None) -> None:
        """The response is written. ``keep``: the next request may come, after ``discard``."""
        self.user = None
        self._held = False
        self.discard = discard
        if not keep:
            self.close(linger=True)
            return
        self._rest()
        if self.buffer:
            self.advance()
        elif discard is None and (self._eof or self.state.draining):
            self.close()
        elif self._reading_paused:
            self._settle()

    # Ends of the connection.

    def refuse(self, refused: Refused, head: bytes = b"") -> None:
        """Answers a request that is not one, and closes once the client has had the answer."""
        if self.ends is not None:
            self.state.observer.record(refused_record(self.ends, refused, time.time(), head))
        self.write(answers.answer(refused.reason, location=refused.location))
        self.close(linger=True)

    def close(self, linger: bool = False) -> None:
        """Closes so that everything written is delivered.

        With ``linger`` the client gets an end of file and is listened to until it ends too:
        closing a socket with unread input resets it, and a reset may destroy the last answer.
        """
        if self.closing:
            return
        self.closing = True
        self.buffer = b""
        self.discard = None
        limits = self.state.limits
        transport = self._transport
        waiting = limits.stream_timeout if self._queued() else limits.linger_timeout
        self.deadline = self.state.timers.clock() + waiting
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
        if linger and not self._eof:
            transport.write_eof()
            if self._reading_paused:
                self._reading_paused = False
                transport.resume_reading()
        else:
            transport.close()

    def reset(self) -> None:
        """Closes at once with a reset; what was written may be lost."""
        self.closing = True
        self.buffer = b""
        self._transport.abort()

    def fault(self, error: Exception) -> None:
        """Something here is broken: never serve on, say so in one line, answer 500 if possible."""
        report_fault("serving a request", error)
        try:
            if self.user is not None:
                self.user.fail(Reason.INTERNAL)
            else:
                self.refuse(Refused(Reason.INTERNAL, "fault"))
        except Exception as second:
            report_fault("answering 500", second)
            self.user = None
            self.reset()

    def expired(self) -> None:
        """The deadline of the current state has passed."""
        if self.closing:
            self._transport.abort()
        elif self.user is not None:
            self.user.expired()
        elif self.write_paused:
            self.reset()
        elif self.buffer and self.discard is None:
            refused = Refused(Reason.HEAD_TIMEOUT, "the head did not arrive in time")
            self.refuse(refused, self.buffer)
        else:
            self.close()

    # Input.

    def _admit(self, surplus: int) -> None:
        """Decides whether the connection may be at all."""
        state = self.state
        if state.snapshot is not None:
            decider = self.decider(state.snapshot)
            if decider is None:
                self.reset()
                return
            assert self.ends is not None
            admission = decider.admission
            road = Road.PROXY if admission.allowed else Road.REFUSED
            state.observer.connection(self.ends.direction, road, admission.reason)
            self._counted = admission.allowed
            if not admission.allowed:
                self.reset()
                return
        if surplus > state.limits.overload_answers:
            self.reset()
        elif surplus > 0:
            self.refuse(Refused(Reason.OVERLOADED, "too many connections"))

    def advance(self) -> None:
        """Takes from the buffer whatever can be taken now."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self.buffer and not self.closing:
                user = self.user
                if user is not None:
                    user.client_data()
                    if self.user is user:
                        break
                elif self.discard is not None:
                    self._discard(self.discard)
                elif self.write_paused or not self._take_head():
                    break
        except Refused as refused:
            if self.user is not None:
                self.user.fail(refused.reason)
            else:
                self.refuse(refused, self.buffer)
        except Exception as error:
            self.fault(error)
        finally:
            self._advancing = False
        if self._held or self._reading_paused or len(self.buffer) > self.state.limits.body_buffer:
            self._settle()

    def _take_head(self) -> bool:
        """Starts an exchange if the buffer holds a whole head. Raises Refused."""
        buffer = self.buffer
        state = self.state
        end = find_end(buffer, max(self._checked - 3, 0))
        if end < 0:
            if self._checked < 0:
                # The whole head has this long, however many pieces it comes in.
                self.deadline = state.timers.clock() + state.limits.head_timeout
                self._checked = 0
            self._checked = check_partial(buffer, state.limits, self._checked)
            return False
        self._checked = _NO_HEAD
        head = buffer[:end]
        request = parse_request(head, state.limits)
        self.buffer = buffer[end:]
        exchange = Exchange(self, request, state.timers.clock())
        self.user = exchange
        exchange.begin()
        return True

    def _discard(self, body: BodyReader) -> None:
        """Throws away the body of a refused request. Raises Refused."""
        _, used = body.feed(self.buffer)
        self.buffer = self.buffer[used:]
        if body.done:
            self.discard = None
            self._rest()

    def _rest(self) -> None:
        """Sets the deadline for the next request."""
        state = self.state
        limits = state.limits
        if self.discard is not None:
            waiting = limits.body_timeout
        elif self.buffer:
            waiting = limits.head_timeout
        else:
            waiting = limits.idle_timeout
        self.deadline = state.timers.clock() + waiting

    def _settle(self) -> None:
        """Reads or pauses reading, as the buffer and the exchange ask."""
        if self.closing:
            return
        pause = self._held or len(self.buffer) > self.state.limits.body_buffer
        if pause != self._reading_paused:
            self._reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _queued(self) -> bool:
        return self._transport.get_write_buffer_size() > 0
