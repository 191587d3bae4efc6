"""How connections begin and end, as programs see it."""

from __future__ import annotations

import errno
import select
import socket
import struct
import threading
from typing import Any

from tests.datapath.covered import PATIENCE, accepted, received
from tests.datapath.scripts import SHORT, Ends, Scripts, polled, queued, tried, until

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
SCRIPTS = Scripts()
script = SCRIPTS.add


@script
def eof(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        near.sendall(b"abc")
        near.close()
        return [received(far, 10), far.recv(1), polled(far)]


@script
def half_close(ends: Ends) -> Any:
    seen: list[Any] = []
    for turned in (False, True):
        with ends.connection() as (near, far):
            one, other = (far, near) if turned else (near, far)
            one.sendall(b"ping")
            one.shutdown(socket.SHUT_WR)
            seen += [received(other, 10), polled(other)]
            other.sendall(b"pong")
            seen += [received(one, 4), polled(one, SHORT)]
            other.shutdown(socket.SHUT_WR)
            seen += [one.recv(1), polled(one), polled(other)]
    return seen


@script
def send_after_shutdown(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        near.sendall(b"abc")
        near.shutdown(socket.SHUT_WR)
        return [tried(near.send, b"x"), received(far, 9)]


@script
def reset(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        near.close()
        seen = [polled(far), tried(far.recv, 1), tried(far.recv, 1), tried(far.send, b"x")]
        return [*seen, far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]


@script
def reset_shows_in_so_error(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        near.close()
        polled(far)
        errors = [far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for _ in range(2)]
        return [*errors, tried(far.getpeername)]


@script
def reset_behind_queued_bytes(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        near.sendall(b"abc")
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        near.close()
        until(lambda: polled(far) & select.POLLERR)
        return [tried(far.recv, 10), tried(far.recv, 10), tried(far.recv, 10)]


@script
def close_with_unread_bytes(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        far.sendall(b"unread")
        polled(near)
        near.close()
        until(lambda: polled(far))
        return [tried(far.recv, 10), tried(far.recv, 10)]


@script
def send_after_the_other_closed(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        near.sendall(b"1")
        received(far, 1)
        far.close()
        seen = [polled(near), tried(near.send, b"a")]
        until(lambda: polled(near) & select.POLLHUP)
        return [*seen, tried(near.send, b"b"), tried(near.send, b"c")]


@script
def bytes_before_accept(ends: Ends) -> Any:
    seen: list[Any] = []
    for size in (5, 100_000):
        with ends.server.listen(ends.host, 0) as listener:
            near = ends.client.connect(ends.host, listener.getsockname()[1])
            with near:
                near.sendall(b"x" * size)
            with accepted(listener) as far:
                polled(far)
                seen.append(queued(far))
                seen += [len(received(far, 2 * size)), far.recv(1)]
    return seen


@script
def connect_without_waiting(ends: Ends) -> Any:
    seen: list[Any] = []
    with ends.server.listen(ends.host, 0) as listener:
        port = listener.getsockname()[1]
        for where in (port, 1):
            with ends.client.tcp_socket(ends.host) as near:
                near.setblocking(False)
                seen.append(errno.errorcode.get(near.connect_ex((ends.host, where)), "done"))
                select.select([], [near], [], PATIENCE)
                seen.append(near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    return seen


@script
def names(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        return [
            near.getsockname() == far.getpeername(),
            near.getpeername() == far.getsockname(),
            near.getpeername()[0] == ends.host,
        ]


@script
def shut_for_reading(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        far.shutdown(socket.SHUT_RD)
        seen = [far.recv(9), polled(far)]
        near.sendall(b"late")
        until(lambda: queued(far))
        return [*seen, far.recv(9), far.recv(9), tried(near.send, b"x")]


@script
def shutdown_wakes_a_blocked_reader(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        seen: list[Any] = []
        waiting = threading.Thread(target=lambda: seen.append(tried(far.recv, 1)))
        waiting.start()
        waiting.join(SHORT)
        far.shutdown(socket.SHUT_RDWR)
        waiting.join(PATIENCE)
        return [*seen, near.recv(1)]
