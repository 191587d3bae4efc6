"""What a program may do with a connection and see happen: run with and without the datapath.

Each script takes ``Ends``, uses fresh connections, and returns what it observed.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import select
import socket
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

from l7proxy.demo.pods import Pod
from tests.datapath.covered import PATIENCE, accepted

MIB = 1 << 20
SHORT = 0.1
"""Seconds in which something is seen not to happen."""


class Ends:
    """Connections from one pod to another."""

    def __init__(self, client: Pod, server: Pod, host: str) -> None:
        self.client = client
        self.server = server
        self.host = host

    @contextlib.contextmanager
    def connection(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        with self.server.listen(self.host, 0) as listener:
            near = self.client.connect(self.host, listener.getsockname()[1], timeout=PATIENCE)
            far = accepted(listener)
        with near, far:
            yield near, far


class Scripts(dict[str, Callable[[Ends], Any]]):
    """By name."""

    def add(self, function: Callable[[Ends], Any]) -> Callable[[Ends], Any]:
        self[function.__name__] = function
        return function


def tried(call: Callable[..., Any], *arguments: Any) -> Any:
    """The result, or the name of the errno."""
    try:
        return call(*arguments)
    except TimeoutError:
        return "timed out"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def polled(sock: socket.socket, seconds: float = PATIENCE) -> int:
    """The poll() events of a socket, the wait ending at the first."""
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLPRI | select.POLLRDHUP)
    found = poll.poll(seconds * 1000)
    return found[0][1] if found else 0


def until(condition: Callable[[], Any]) -> None:
    """Asks again and again; fails the test after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never happened"


def queued(sock: socket.socket) -> int:
    size = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, size)
    return size[0]


def by_tcp(reader: socket.socket, writer: socket.socket, data: bytes) -> None:
    """Sends what is not short-circuited: the reader asks for more than the kernel would see."""
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 2)
    writer.sendall(data)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
