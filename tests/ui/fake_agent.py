"""An admin socket that gives prepared answers, and flows when a test says so."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from queue import Empty, Queue
from typing import Any

Json = dict[str, Any]
_END = b""


class FakeAgent:
    """``answers`` has status and document by path, ``asked`` what has been asked.

    ``history`` is what a stream of flows begins with; ``say`` adds to the streams that are open.
    """

    def __init__(self, socket: Path) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: Queue[tuple[str, str, Any]] = Queue()
        self.history: list[Json] = []
        self.closed: Queue[str] = Queue()
        self._socket = socket
        self._streams: list[Queue[bytes]] = []
        self._server: socketserver.UnixStreamServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        agent = self

        class Handler(_Handler):
            fake = agent

        self._server = _Server(str(self._socket), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        """End all streams, and answer no more."""
        for stream in self._streams:
            stream.put(_END)
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._socket.unlink()
            self._server = None

    def say(self, lines: Iterable[Json]) -> None:
        """New records, for every stream that is open."""
        text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        for stream in self._streams:
            stream.put(text)

    def open_stream(self) -> Queue[bytes]:
        stream: Queue[bytes] = Queue()
        self._streams.append(stream)
        return stream

    def close_stream(self, stream: Queue[bytes]) -> None:
        self._streams.remove(stream)
        self.closed.put("flows")


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = False
    block_on_close = True


class _Handler(BaseHTTPRequestHandler):
    fake: FakeAgent
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, asked: Any) -> None:
        self.fake.asked.put((self.command, self.path, asked))
        self.close_connection = True
        path = self.path.partition("?")[0]
        if path == "/flows" and path not in self.fake.answers:
            self._stream()
            return
        status, document = self.fake.answers.get(path, (404, {"error": "nothing"}))
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        """In chunks, until the client goes away or the agent stops."""
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        stream = self.fake.open_stream()
        self.connection.settimeout(0.05)
        try:
            for line in self.fake.history:
                self._chunk(json.dumps(line).encode() + b"\n")
            while text := self._next(stream):
                self._chunk(text)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass
        finally:
            self.fake.close_stream(stream)

    def _next(self, stream: Queue[bytes]) -> bytes:
        while True:
            try:
                return stream.get(timeout=0.02)
            except Empty:
                try:
                    if not self.connection.recv(1):
                        raise ConnectionResetError from None
                except TimeoutError:
                    pass

    def _chunk(self, text: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(text), text))

    def address_string(self) -> str:
        return "unix"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass
