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
import time

from l7proxy.http import answers
from l7proxy.http.head import check_partial, find_end
from l7proxy.http.refused import Refused
from l7proxy.http.request import parse_request
from l7proxy.policy.verdict import Action, Road
from l7proxy.proxy.decisions import Decider, PolicySnapshot
from l7proxy.proxy.exchange import Exchange
from l7proxy.proxy.pool import Destination
from l7proxy.proxy.ports import Downstream, Resolver
from l7proxy.proxy.records import refused_record
from l7proxy.proxy.relay import RequestRelay
from l7proxy.proxy.state import WorkerState, report_fault
from l7proxy.proxy.transport import ClientTransport, ClientUser
from l7proxy.proxy.tunnel import Tunnel
from l7proxy.reasons import Reason

_NO_HEAD = -1


class ClientConnection(ClientTransport):
    """One accepted connection. Idle, it holds no buffer and no task."""

    __slots__ = (
        "_address",
        "_advancing",
        "_checked",
        "_counted",
        "_decider",
        "_resolver",
        "_server",
        "_snapshot",
        "discard",
        "ends",
        "user",
    )

    def __init__(self, state: WorkerState, resolver: Resolver) -> None:
        super().__init__(state)
        self.ends: Downstream | None = None
        self.user: ClientUser | None = None
        self.discard: RequestRelay | None = None
        self._resolver = resolver
        self._server: Destination | None = None
        self._snapshot: PolicySnapshot | None = None
        self._decider: Decider | None = None
        self._address = b""
        self._counted = False
        self._checked = _NO_HEAD
        self._advancing = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        state = self.state
        limits = state.limits
        state.clients.add(self)
        state.timers.watch(self)
        self.deadline = state.timers.clock() + limits.idle_timeout
        try:
            self._admit(len(state.clients) - limits.connections)
        except Exception as error:
            report_fault("accepting a connection", error)
            self.reset()

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        self.buffer = self.buffer + data if self.buffer else data
        self.advance()

    def eof_received(self) -> bool:
        self.ended = True
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

    # For the exchange or the tunnel.

    @property
    def idle(self) -> bool:
        """Between two requests, with nothing of the next one received."""
        return self.user is None and not self.buffer and self.discard is None

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
                self.ends = self._resolver.resolve(self.sock)
            if self.ends is None:
                return None
            self._decider = snapshot.decider(self.ends)
            self._snapshot = snapshot
        return self._decider

    def judge(self, snapshot: PolicySnapshot) -> None:
        """Ends a tunnel that ``snapshot`` would not let begin."""
        user = self.user
        if not isinstance(user, Tunnel):
            return
        decider = self.decider(snapshot)
        if decider is None or decider.decide(user.request).action is Action.BLOCK:
            user.fail(Reason.RULE_BLOCKED)

    def exchange_ended(
        self, keep: bool, discard: RequestRelay | None = None, unread: bool = False
    ) -> None:
        """The response is written. ``keep``: the next request may come, after ``discard``.

        ``unread``: there may be more to come of this one.
        """
        self.user = None
        self.discard = discard
        if not keep:
            self.close(linger=unread)
            return
        self._rest()
        if self.state.draining and self.idle:
            self.close()
        elif self.buffer or self.ended or self._reading_paused:
            self.advance()

    # Ends of the connection.

    def refuse(self, refused: Refused, head: bytes = b"") -> None:
        """Answers a request that is not one, and closes once the client has had the answer."""
        if self.ends is not None:
            self.state.observer.record(refused_record(self.ends, refused, time.time(), head))
        self.write(answers.answer(refused.reason, location=refused.location))
        self.close(linger=True)

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
            self.linger_expired()
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
        if self.user is None and not self.write_paused and self._over:
            self.close()
        elif self.buffer or self._reading_paused:
            self.settle_reading()

    @property
    def _over(self) -> bool:
        """Whether no further request can come, now that none is being served."""
        return self.ended or (self.state.draining and self.idle)

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

    def _discard(self, body: RequestRelay) -> None:
        """Throws away the body of a refused request. Raises Refused."""
        _, self.buffer = body.take(self.buffer)
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
