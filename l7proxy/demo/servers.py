"""Real servers to put into pods, each ready to answer when the function returns."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l7proxy.demo.places import Place

READY_TIMEOUT = 15.0
"""Seconds that a server gets to accept connections."""

BACKEND = Path(__file__).with_name("backend.py")


class ServerError(Exception):
    """A server did not start; the text has the end of what it said."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its process, where it listens, and its own folder."""

    process: subprocess.Popen[Any]
    endpoints: tuple[tuple[str, int], ...]
    directory: Path

    def log(self) -> str:
        """What the server wrote to its standard error so far."""
        return (self.directory / "stderr").read_text(errors="replace")


def echo(name: str) -> str:
    """The inside of an nginx server block that answers with what it received."""
    return (
        "location / { default_type text/plain; "
        "add_header X-Peer $remote_addr; "
        "add_header X-Seen-Forwarded-For $http_x_forwarded_for; "
        f"add_header X-Server {name}; "
        f'return 200 "{name}: $request_method $request_uri\\n"; }}'
    )


def nginx(
    place: Place,
    directory: Path,
    endpoints: Sequence[tuple[str, int]],
    *,
    body: str | None = None,
    access_log: bool = False,
    workers: int = 1,
) -> Server:
    """nginx with a configuration and folder of its own, nothing of the machine's.

    ``body`` is the inside of the server block; by default it serves the files in
    ``directory/www``. ``access_log`` writes one line a request to ``directory/access.log``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "www").mkdir(exist_ok=True)
    listens = "\n    ".join(
        f"listen {_endpoint(*endpoint)} backlog=4096;" for endpoint in endpoints
    )
    temporary = "\n  ".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    log = f"access_log {directory}/access.log requests;" if access_log else "access_log off;"
    (directory / "nginx.conf").write_text(
        f"""user root;
daemon off;
master_process on;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
  {temporary}
  default_type application/octet-stream;
  log_format requests '$remote_addr $request_method $request_uri $status xff=$http_x_forwarded_for';
  {log}
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  server {{
    {listens}
    root {directory}/www;
    {body or ""}
  }}
}}
"""
    )
    argv = ["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"]
    return _start(place, directory, argv, endpoints)


def python(place: Place, directory: Path, name: str, host: str, port: int) -> Server:
    """Python's own http.server, answering with what it received."""
    argv = [sys.executable, "-I", "-S", str(BACKEND), name, host, str(port)]
    return _start(place, directory, argv, [(host, port)])


def node(place: Place, directory: Path, name: str, host: str, port: int) -> Server:
    """A Node.js http server, answering with what it received."""
    script = (
        "const [name, host, port] = process.argv.slice(1);"
        "require('http').createServer((q, r) => { q.resume(); q.on('end', () => {"
        " r.setHeader('X-Server', name);"
        " r.setHeader('X-Peer', q.socket.remoteAddress);"
        " r.setHeader('X-Seen-Forwarded-For', q.headers['x-forwarded-for'] || '-');"
        " r.end(`${name}: ${q.method} ${q.url}\\n`); }); }).listen(+port, host);"
    )
    return _start(place, directory, ["node", "-e", script, name, host, str(port)], [(host, port)])


def free_port(host: str) -> int:
    """A port on which nobody listens at the moment."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def wait_ready(
    place: Place,
    process: subprocess.Popen[Any],
    endpoints: Sequence[tuple[str, int]],
    log: Path,
    timeout: float = READY_TIMEOUT,
) -> None:
    """Return when every endpoint accepts a connection made from ``place``.

    Raises ServerError when the process ends first, or after ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    for host, port in endpoints:
        while True:
            try:
                place.connect(host, port, timeout=1.0).close()
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > end:
                    said = log.read_text(errors="replace").strip().splitlines()[-3:]
                    raise ServerError(
                        f"{place.name}: no server on {_endpoint(host, port)} ({error}): "
                        + " | ".join(said or ["it said nothing"])
                    ) from error
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue


def _start(
    place: Place, directory: Path, argv: Sequence[str], endpoints: Sequence[tuple[str, int]]
) -> Server:
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "stderr"
    with log.open("wb") as stream:
        process = place.popen(argv, stdout=stream, stderr=stream)
    wait_ready(place, process, endpoints, log)
    return Server(process, tuple(endpoints), directory)


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
