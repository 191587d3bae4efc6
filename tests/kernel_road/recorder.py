"""A server that takes anything: it writes down every byte and answers what looks like a request.

What is in a record was read by an application of the workload; nothing is refused, repaired or
closed early here, so whatever the kernel lets through is found.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httptools

from tests.datapath.covered import PATIENCE

_LINE_END = b"\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RECEIVED = 65536


@dataclass
class Request:
    """A request as a careless server understands it."""

    method: str
    target: str
    fields: dict[str, str]
    body: bytes = b""
    trailers: bytes = b""


Answer = Callable[[Request], Iterable[bytes]]
"""What to send for a request, a send() for each piece. It may block."""


def plain(request: Request) -> Iterable[bytes]:
    """200 and the request's own target, which tells a client whose answer it is."""
    body = f"{request.target}\n".encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    return [head + (b"" if request.method == "HEAD" else body)]


class _Reader:
    """Takes whole requests off a stream."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._continued = False

    def feed(self, data: bytes) -> None:
        self._data += data
        self._skip_empty_lines()

    def _skip_empty_lines(self) -> None:
        """Before a request, as RFC 9112 2.2 has it: the kernel puts them in the place of what it
        refuses behind something allowed."""
        while self._data.startswith(_LINE_END):
            del self._data[: len(_LINE_END)]

    def wants_continue(self) -> bool:
        """Whether the client waits for 100 before it sends the body; true once a request."""
        end = self._data.find(b"\r\n\r\n")
        if end < 0 or self._continued or b"100-continue" not in self._data[:end].lower():
            return False
        self._continued = True
        return True

    def take(self) -> Request | None:
        """The next request if it is whole. Raises ValueError for what is no request."""
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = self._data[:end].decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = [line.split(":", 1) for line in lines]
        request = Request(method, target, {pair[0].lower(): pair[-1].strip() for pair in pairs})
        at = end + 4
        if "chunked" in request.fields.get("transfer-encoding", ""):
            found = self._chunks(request, at)
            if found is None:
                return None
            at = found
        else:
            size = int(request.fields.get("content-length", "0"))
            if len(self._data) < at + size:
                return None
            request.body = bytes(self._data[at : at + size])
            at += size
        del self._data[:at]
        self._skip_empty_lines()
        self._continued = False
        return request

    def _chunks(self, request: Request, at: int) -> int | None:
        parts = []
        while True:
            end = self._data.find(b"\r\n", at)
            if end < 0:
                return None
            size = int(self._data[at:end].split(b";")[0], 16)
            at = end + 2
            if not size:
                break
            if len(self._data) < at + size + 2:
                return None
            parts.append(bytes(self._data[at : at + size]))
            at += size + 2
        request.body = b"".join(parts)
        start = at
        while True:
            end = self._data.find(b"\r\n", at)
            if end < 0:
                return None
            if end == at:
                request.trailers = bytes(self._data[start:at])
                return end + 2
            at = end + 2


@dataclass
class Record:
    """What came on one connection."""

    sock: socket.socket
    peer: tuple[str, int]
    data: bytearray = field(default_factory=bytearray)
    requests: list[Request] = field(default_factory=list)
    interrupted: int = 0
    """How often recv() did not wait, as a blocking one should, but said EAGAIN."""
    ended: str = ""
    """How: "end" or the name of an error; empty while it is open."""

    def has_request(self, target: bytes) -> bool:
        """Whether a whole head for ``target`` came, wherever in the stream."""
        head = rb"[A-Z]+ %b HTTP/1\.[01]\r\n(?:[^\r\n]+\r\n)*\r\n" % re.escape(target)
        return re.search(head, self.data) is not None

    def is_only(self, requests: Iterable[bytes]) -> bool:
        """Whether these came and nothing else, but for the empty lines in the place of others."""
        return bytes(self.data.translate(None, _LINE_END)) == b"".join(requests).translate(
            None, _LINE_END
        )

    def targets(self) -> list[bytes]:
        """The requests that another reader (llhttp) finds, up to where it gives up."""
        found: list[bytes] = []
        begun = bytearray()

        class Events:
            def on_message_begin(self) -> None:
                begun.clear()

            def on_url(self, url: bytes) -> None:
                begun.extend(url)

            def on_headers_complete(self) -> None:
                found.append(bytes(begun))

        with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            httptools.HttpRequestParser(Events()).feed_data(bytes(self.data))
        return found


class Recorder:
    """Accepts on ``listener`` and reads on, each connection in a thread of its own.

    ``reading``: cleared, no more is read. ``accepting``: cleared, nobody is let in.
    """

    def __init__(self, listener: socket.socket, answer: Answer | None = plain) -> None:
        self.reading = threading.Event()
        self.accepting = threading.Event()
        self.reading.set()
        self.accepting.set()
        self.records: list[Record] = []
        self._listener = listener
        self._answer = answer
        self._is_over = False
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._accept, name="recorder")]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over = True
        self.reading.set()
        self.accepting.set()
        # Only this wakes a thread that waits in accept() or recv().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for record in list(self.records):
            with contextlib.suppress(OSError):
                record.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port, *_ = self._listener.getsockname()
        return host, port

    def wait(self, done: Callable[[list[Record]], object], what: str = "") -> list[Record]:
        """Waits until ``done`` is true of the records; returns them."""
        with self._changed:
            if not self._changed.wait_for(lambda: done(self.records), PATIENCE):
                shown = [(bytes(each.data[-300:]), each.ended) for each in self.records]
                raise AssertionError(f"{what or 'it'} never happened: {shown}")
            return list(self.records)

    def ended(self, count: int) -> list[Record]:
        """Waits until so many connections were accepted and all of them ended."""

        def done(records: list[Record]) -> bool:
            return len(records) >= count and all(each.ended for each in records)

        return self.wait(done, f"the end of {count} connections")

    def requests(self, count: int) -> list[Request]:
        """Waits for so many requests, of all connections together; returns them."""
        found = self.wait(
            lambda records: sum(len(each.requests) for each in records) >= count,
            f"the arrival of {count} requests",
        )
        return [request for record in found for request in record.requests]

    def _accept(self) -> None:
        while True:
            self.accepting.wait()
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            record = Record(sock, peer[:2])
            thread = threading.Thread(target=self._serve, args=(record,), name="record")
            self._threads.append(thread)
            with self._changed:
                self.records.append(record)
                self._changed.notify_all()
            thread.start()

    def _serve(self, record: Record) -> None:
        reader: _Reader | None = _Reader()
        end = "end"
        try:
            while True:
                self.reading.wait()
                try:
                    data = record.sock.recv(_RECEIVED)
                except BlockingIOError:
                    record.interrupted += 1
                    if self._is_over:
                        break
                    continue
                if not data:
                    break
                with self._changed:
                    record.data += data
                    self._changed.notify_all()
                if reader and self._answer:
                    reader.feed(data)
                    reader = self._answered(record, reader)
        except OSError as error:
            end = type(error).__name__
        record.sock.close()
        with self._changed:
            record.ended = end
            self._changed.notify_all()

    def _answered(self, record: Record, reader: _Reader) -> _Reader | None:
        assert self._answer is not None
        try:
            if reader.wants_continue():
                record.sock.sendall(_CONTINUE)
            while request := reader.take():
                with self._changed:
                    record.requests.append(request)
                    self._changed.notify_all()
                for piece in self._answer(request):
                    record.sock.sendall(piece)
                if reader.wants_continue():
                    record.sock.sendall(_CONTINUE)
        except ValueError:
            return None  # not HTTP: only written down from here on
        return reader
