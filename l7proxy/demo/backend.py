"""A small HTTP/1.1 server that says what it received. Started as a plain file, needs no package.

``python backend.py NAME HOST PORT``. Every answer is one line: the server's name, the method and
the target; the client's address and X-Forwarded-For follow in header fields.
"""

from __future__ import annotations

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPORT_BYTES = 1 << 20
"""The least that the answer to /report has, less a line."""


class Backend(ThreadingHTTPServer):
    """A threading server for either address family."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str, host: str, port: int) -> None:
        self.name = name
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Echo)


class Echo(BaseHTTPRequestHandler):
    """Answers every method alike."""

    protocol_version = "HTTP/1.1"
    server: Backend

    def answer(self) -> None:
        """Read the body, if any, and say what came."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = f"{self.server.name}: {self.command} {self.path}\n".encode("latin-1")
        if self.path == "/report":
            body *= REPORT_BYTES // len(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Server", self.server.name)
        self.send_header("X-Peer", self.client_address[0])
        self.send_header("X-Seen-Forwarded-For", self.headers.get("X-Forwarded-For", "-"))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815 - base class

    def log_message(self, *args: object) -> None:
        """Write no log: standard error is where a failure to start is told."""


if __name__ == "__main__":
    with Backend(sys.argv[1], sys.argv[2], int(sys.argv[3])) as server:
        server.serve_forever()
