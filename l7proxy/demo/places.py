"""Where a process runs: a network namespace and a cgroup, entered before the program starts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from l7proxy.demo import namespaces
from l7proxy.demo.client import Outcome, exchange

STOP_TIMEOUT = 10.0
"""Seconds between SIGTERM and SIGKILL."""

CLOSE_TIMEOUT = 2.0
"""The same where everything is being taken down and nothing is waited for."""

BROKER = Path(__file__).with_name("broker.py")


def enter(argv: Sequence[str], *, netns: str | None, cgroup: Path | None) -> list[str]:
    """``argv`` wrapped so that the program starts inside the namespace and the cgroup.

    The wrapper joins first and then becomes the program: no instruction of it runs outside, its
    process id is the one that was started, and its open descriptors are kept.
    """
    command = list(argv)
    if netns is not None:
        command = ["nsenter", f"--net={namespaces.path(netns)}", "--", *command]
    if cgroup is not None:
        join = 'echo 0 >"$1" && shift && exec "$@"'
        command = ["sh", "-c", join, "enter", str(cgroup / "cgroup.procs"), *command]
    return command


def stop(process: subprocess.Popen[Any], timeout: float = STOP_TIMEOUT) -> int:
    """Ask a process to end, kill it when it does not within ``timeout`` seconds; its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    return process.returncode


class Place:
    """A network namespace and a cgroup. Both None is where this process itself is.

    Everything started here is stopped by ``close``. Safe to use from several threads.
    """

    def __init__(self, name: str, *, netns: str | None = None, cgroup: Path | None = None) -> None:
        self.name = name
        self.netns = netns
        self.cgroup = cgroup
        self._lock = threading.Lock()
        self._broker: socket.socket | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop what was started here, last first."""
        self._broker = None
        self._stack.close()

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program here. ``options`` are ``subprocess.Popen``'s.

        It gets a session of its own, so that Ctrl-C at the terminal reaches only this process.
        """
        options.setdefault("start_new_session", True)
        options.setdefault("stdin", subprocess.DEVNULL)
        command = enter(argv, netns=self.netns, cgroup=self.cgroup)
        process = subprocess.Popen(command, **options)
        self._stack.callback(stop, process, CLOSE_TIMEOUT)
        return process

    def run(
        self, argv: Sequence[str], timeout: float = 30.0, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program here to its end, its output captured as text."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            enter(argv, netns=self.netns, cgroup=self.cgroup),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            **options,
        )

    def connect(
        self,
        host: str,
        port: int,
        *,
        timeout: float = 5.0,
        source: tuple[str, int] | None = None,
        options: Iterable[tuple[int, int, int]] = (),
        protocol: int = 0,
    ) -> socket.socket:
        """A TCP connection from here to ``host`` (a literal address), as a blocking socket.

        ``timeout`` (seconds) bounds the connect and every later operation. Raises the OSError
        that ``connect()`` gave: PermissionError, ConnectionRefusedError, TimeoutError, ...
        """
        made = self._ask(
            op="connect",
            host=host,
            port=port,
            timeout=timeout,
            source=source,
            options=list(options),
            protocol=protocol,
        )
        made.settimeout(timeout)
        return made

    def listen(self, host: str, port: int, backlog: int = 128) -> socket.socket:
        """A listening socket here. Port 0 takes a free one. Raises OSError."""
        return self._ask(op="listen", host=host, port=port, backlog=backlog)

    def tcp_socket(self, host: str, *, protocol: int = 0) -> socket.socket:
        """A TCP socket made here and not yet connected; ``host`` only gives the family."""
        return self._ask(op="socket", host=host, protocol=protocol)

    def http(
        self,
        method: str,
        host: str,
        port: int,
        target: str = "/",
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        timeout: float = 5.0,
        source: tuple[str, int] | None = None,
    ) -> Outcome:
        """One HTTP request on a connection of its own, ``target`` sent exactly as given."""
        try:
            connection = self.connect(host, port, timeout=timeout, source=source)
        except OSError as error:
            return Outcome.failed("connect", error)
        with connection:
            address, number = connection.getsockname()[:2]
            outcome = exchange(connection, method, target, headers=headers, body=body)
            return replace(outcome, source=(address, number))

    def _ask(self, **request: Any) -> socket.socket:
        with self._lock:
            if self._broker is None:
                self._broker = self._start_broker()
            self._broker.send(json.dumps(request).encode())
            datagram, descriptors, _, _ = socket.recv_fds(self._broker, 65536, 1)
        if not datagram:
            raise ConnectionError(f"{self.name}: the socket broker is gone")
        number = json.loads(datagram)["errno"]
        if number is not None:
            raise OSError(number, os.strerror(number))
        return socket.socket(fileno=descriptors[0])

    def _start_broker(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.popen(
                [sys.executable, "-I", "-S", str(BROKER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
            )
        self._stack.callback(ours.close)
        return ours
