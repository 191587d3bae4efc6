"""A node whose agent is watched, and a client that counts what became of its requests itself."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import socket
import struct
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

from tests.agent.nodes import FRONTEND, PATIENCE, Node

Counts = Counter[tuple[str, str]]
"""Requests by method and status, as the metrics name them; status 0 is no answer."""


class Backend:
    """Serves ``/users``; closes without an answer to ``/close`` and within that to ``/cut``.

    ``/hang/...`` gets no answer while the client is there; ``arrived`` tells which have come.
    """

    def __init__(self) -> None:
        self._arrived: dict[str, threading.Event] = {}
        self.over = threading.Event()
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                served = self.path.startswith("/users")
                self.close_connection = not served
                if self.path.startswith("/hang/"):
                    backend.arrived(self.path).set()
                    backend.over.wait(PATIENCE)
                if served or self.path == "/cut":
                    self.send_response(200)
                    self.send_header("Content-Length", "5")
                    self.end_headers()
                    self.wfile.write(b"users" if served else b"us")

            do_POST = do_GET  # noqa: N815 - the name is http.server's

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def arrived(self, path: str) -> threading.Event:
        """Set once a request for this path has come."""
        return self._arrived.setdefault(path, threading.Event())

    def __enter__(self) -> Backend:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def policies(port: int) -> str:
    """GET and POST of what the backend has, but for ``/users/root``; and a dry run that would
    refuse ``/users/7`` too."""
    allowed = [
        {"name": name, "method": "GET|POST", "path": f"/{name}(/[0-9]+)?"}
        for name in ("users", "close", "cut", "hang")
    ]
    blocked = {"name": "no-root", "path": "/users/root", "action": "block"}
    ports = [{"port": str(port), "protocol": "TCP"}]
    peers = [{"matchLabels": {"app": "frontend"}}]
    audited = {"name": "no-seven", "path": "/users/7", "action": "block"}

    def document(name: str, rules: list[Any], **spec: Any) -> dict[str, Any]:
        to_ports = [{"ports": ports, "rules": {"http": rules}}]
        return {
            "apiVersion": "l7proxy.io/v1alpha1",
            "kind": "L7Policy",
            "metadata": {"name": name},
            "spec": {
                "endpointSelector": {"matchLabels": {"app": "users"}},
                "ingress": [{"fromEndpoints": peers, "toPorts": to_ports}],
                **spec,
            },
        }

    return yaml.safe_dump_all(
        [
            document("users-api", [*allowed, blocked]),
            document("users-audit", [*allowed, audited], audit=True),
        ]
    )


class Client:
    """Asks a node's listener from the address of ``frontend``, and keeps count.

    ``cut_off`` are those of ``counts`` whose answer ended within its content, ``audited`` those
    that a dry run would refuse.
    """

    def __init__(self, node: Node, backend: Backend) -> None:
        host, _, port = node.status()["listeners"][0].rpartition(":")
        self._address = host, int(port)
        self._backend = backend
        self.counts: Counts = Counter()
        self.cut_off = 0
        self.audited = 0
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def mixed(self, rounds: int) -> None:
        """15 requests a round, of every kind, by four threads at once."""
        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(self._round) for _ in range(rounds)]:
                done.result()

    def _round(self) -> None:
        kept = http.client.HTTPConnection(
            *self._address, timeout=PATIENCE, source_address=(FRONTEND, 0)
        )
        with contextlib.closing(kept):
            for method, path in (
                ("GET", "/users"),
                ("POST", "/users"),
                ("GET", "/nothing"),
                ("POST", "/users/root"),
                ("GET", "/users/7"),
                ("BREW", "/users"),
                ("GET", "/users"),
                ("GET", "/close"),
                ("POST", "/close"),
                ("GET", "/cut"),
            ):
                self._ask(kept, method, path)
        self.raw(b"GET /users HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n", "GET")
        self.raw(b"POST /users HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "POST")
        self.raw(b"GET /users HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "GET")
        self.raw(b"GET /users HTTP/3.0\r\n\r\n", "GET")
        self._leave()

    def _ask(self, kept: http.client.HTTPConnection, method: str, path: str) -> None:
        kept.request(method, path, b"name=x" if method == "POST" else None)
        response = kept.getresponse()
        try:
            response.read()
        except (http.client.IncompleteRead, ConnectionResetError):
            with self._lock:
                self.cut_off += 1
        with self._lock:
            self.audited += path == "/users/7"
        self._count(method, response.status)

    def raw(self, request: bytes, method: str) -> None:
        """Send these bytes on a connection of their own; what is malformed ends it."""
        with self._connect() as connection:
            connection.sendall(request)
            response = http.client.HTTPResponse(connection)
            response.begin()
            response.read()
        self._count(method, response.status)

    def _leave(self) -> None:
        """Hang up, with a reset, on a backend that does not answer."""
        with self._connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            path = f"/hang/{next(self._numbers)}"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert self._backend.arrived(path).wait(PATIENCE)
        self._count("GET", 0)

    def _connect(self) -> socket.socket:
        return socket.create_connection(self._address, PATIENCE, (FRONTEND, 0))

    def _count(self, method: str, status: int) -> None:
        known = method if method in ("GET", "POST") else "other"
        with self._lock:
            self.counts[known, str(status)] += 1
