"""The server of the tests: it keeps every byte that it receives, and answers whole requests.

It reads with ``l7proxy.http``; that h11 and llhttp find the same in what it received is looked at
elsewhere. One thread serves all connections.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from l7proxy.http.body import BodyReader, reader
from l7proxy.http.head import find_end
from l7proxy.http.refused import Refused
from l7proxy.http.request import Request, parse_request
from tests.kernel.replies import Reply, reply
from tests.kernel.script import LIMITS, head_of

_AT_ONCE = 1 << 18

# The proxy adds fields to a head that is as large as may be.
_PATIENT = replace(LIMITS, head_fields=200, head_bytes=2 * LIMITS.head_bytes)


class Record:
    """One connection that the server accepted. ``received`` is all that came.

    ``fault``: what the server could not read. ``ended``: how the client's direction ended, None
    while it is open.
    """

    def __init__(self, sock: socket.socket, tell: Callable[[Request, bytes], None]) -> None:
        """``tell`` is called with each whole request and its content, before it is answered."""
        self.sock = sock
        self.received = bytearray()
        self.fault: str | None = None
        self.ended: str | None = None
        self.answered = 0  # requests, with nothing of an answer left to send
        self._lame = False  # it has said that it closes
        self._tell = tell
        self._at = 0
        self._read = 0
        self._request: Request | None = None
        self._reply: Reply | None = None
        self._body: BodyReader | None = None
        self._content = b""
        self._out: deque[bytes] = deque()

    def take(self) -> None:
        """Reads what is there; a direction that has ended stays so."""
        try:
            data = self.sock.recv(_AT_ONCE)
        except BlockingIOError:
            return
        except OSError as error:
            self.ended = f"reading: {error}"
            return
        if not data:
            self.ended = "EOF"
            return
        self.received += data

    def serve(self) -> None:
        """Answers what can be answered. Raises OSError."""
        self.flush()
        while not self._out and not self._lame and self._next_head() and self._next_content():
            pass

    def flush(self) -> None:
        """Sends what the socket takes. Raises OSError, and has nothing left to send then."""
        while self._out:
            try:
                sent = self.sock.send(self._out[0])
            except BlockingIOError:
                return
            except OSError:
                self._out.clear()
                raise
            if sent < len(self._out[0]):
                self._out[0] = self._out[0][sent:]
            else:
                self._out.popleft()
        self.answered = self._read
        if self._lame and self.ended is None:
            self.sock.shutdown(socket.SHUT_WR)

    @property
    def waits(self) -> bool:
        """Whether something could not be sent yet."""
        return bool(self._out)

    def _next_head(self) -> bool:
        if self._request is not None:
            return True
        if self.fault is not None:
            return False
        while self.received[self._at : self._at + 1] in (b"\r", b"\n"):
            self._at += 1  # as servers do: RFC 9112 2.2
        end = find_end(self.received, self._at)
        if end < 0:
            return False
        try:
            request = parse_request(bytes(self.received[self._at : end]), _PATIENT)
        except Refused as refused:
            self.fault = f"{refused.reason}: {refused.detail}"
            return False
        self._at = end
        self._request, self._content = request, b""
        self._body = reader(request.framing, LIMITS)
        self._reply = reply(head_of(request, end))
        if self._reply.hint:
            self._out.append(self._reply.hint)
            self.flush()
        return True

    def _next_content(self) -> bool:
        request, body = self._request, self._body
        assert request is not None
        assert body is not None
        assert self._reply is not None
        try:
            got, used = body.feed(bytes(self.received[self._at :]))
        except Refused as refused:
            self.fault = f"{refused.reason}: {refused.detail}"
            return False
        self._at += used
        self._content += b"".join(got)
        if not body.done:
            return False
        self._tell(request, self._content)
        self._read += 1
        self._request = None
        self._out += self._reply.writes
        self._lame = not request.keep_alive
        self.flush()
        return True


class Server:
    """Listens until the block ends."""

    def __init__(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self.changed = threading.Condition()
        self._listener = listener
        self._held = False
        self._selector = selectors.DefaultSelector()
        self._tasks: deque[Callable[[], None]] = deque()
        self._settling: list[threading.Event] = []
        self._wake, self._woken = socket.socketpair()
        self._records: dict[tuple[str, int], Record] = {}
        self._messages: list[tuple[Request, bytes]] = []
        self._faults: list[str] = []
        self._thread = threading.Thread(target=self._run, name="recorder")

    def __enter__(self) -> Self:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._do(None)
        self._thread.join()

    def hold(self) -> None:
        """From now on nothing is answered before ``release``."""
        self._held = True

    def record(self, peer: tuple[str, int], timeout: float) -> Record | None:
        """The connection from ``peer``, waited for; None where it does not come."""
        with self.changed:
            if not self.changed.wait_for(lambda: peer in self._records, timeout):
                return None
            return self._records[peer]

    def await_answers(self, record: Record, count: int, timeout: float) -> None:
        """Waits until so many requests are answered, or the time is over."""
        with self.changed:
            self.changed.wait_for(lambda: record.answered >= count or record.ended, timeout)

    def release(self) -> None:
        """Answers what was held."""

        def go_on() -> None:
            self._held = False
            for record in list(self._records.values()):
                if record.sock.fileno() >= 0:
                    self._serve(record)

        self._do(go_on)

    def forget(self, peer: tuple[str, int]) -> None:
        with self.changed:
            self._records.pop(peer, None)

    def drain(self) -> tuple[list[tuple[Request, bytes]], list[str]]:
        """The messages and faults of all connections since the last call, of what has come by now:
        a request that the proxy gave up may still be on its way through the server.
        """
        settled = threading.Event()
        self._do(lambda: self._settling.append(settled))
        settled.wait()
        with self.changed:
            messages, self._messages = self._messages, []
            faults, self._faults = self._faults, []
            return messages, faults

    def _do(self, task: Callable[[], None] | None) -> None:
        self._tasks.append(task or self._stop)
        self._wake.send(b"x")

    def _stop(self) -> None:
        raise SystemExit

    def _run(self) -> None:
        try:
            while True:
                ready = self._selector.select(0 if self._settling else None)
                if not ready:
                    self._settle()
                for key, _ in ready:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj is self._woken:
                        self._woken.recv(64)
                        while self._tasks:
                            self._tasks.popleft()()
                    else:
                        self._ready(key.data)
        except SystemExit:
            pass
        finally:
            for key in list(self._selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
            self._wake.close()
            self._selector.close()

    def _settle(self) -> None:
        """Nothing is left to read."""
        for settled in self._settling:
            settled.set()
        self._settling.clear()

    def _accept(self) -> None:
        try:
            sock, peer = self._listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        record = Record(sock, self._told)
        self._selector.register(sock, selectors.EVENT_READ, record)
        with self.changed:
            self._records[peer[:2]] = record
            self.changed.notify_all()

    def _told(self, request: Request, content: bytes) -> None:
        with self.changed:
            self._messages.append((request, content))

    def _ready(self, record: Record) -> None:
        record.take()
        self._serve(record)

    def _serve(self, record: Record) -> None:
        before = record.fault
        try:
            if not self._held:
                record.serve()
        except OSError as error:
            record.ended = record.ended or f"writing: {error}"
        with self.changed:
            if record.fault is not None and before is None:
                self._faults.append(record.fault)
            self.changed.notify_all()
        if record.ended is not None and not self._held and not record.waits:
            self._close(record)
        else:
            events = selectors.EVENT_READ if record.ended is None else 0
            if record.waits:
                events |= selectors.EVENT_WRITE
            if events:
                self._watch(record, events)
            else:
                self._unwatch(record)

    def _watch(self, record: Record, events: int) -> None:
        known = self._selector.get_map().get(record.sock)
        if known is None:
            self._selector.register(record.sock, events, record)
        elif known.events != events:
            self._selector.modify(record.sock, events, record)

    def _unwatch(self, record: Record) -> None:
        if record.sock in self._selector.get_map():
            self._selector.unregister(record.sock)

    def _close(self, record: Record) -> None:
        if record.sock.fileno() >= 0:
            self._unwatch(record)
            record.sock.close()
