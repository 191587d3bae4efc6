"""How bytes are sent, waited for and read, as programs see it."""

from __future__ import annotations

import os
import select
import socket
import struct
import tempfile
import threading
from typing import Any

from tests.datapath.covered import PATIENCE, received
from tests.datapath.scripts import MIB, SHORT, Ends, Scripts, by_tcp, polled, queued, tried, until

TCP_INQ = 36
BYTES_RECEIVED = 128
"""Where struct tcp_info has tcpi_bytes_received."""

SCRIPTS = Scripts()
script = SCRIPTS.add


@script
def peek(ends: Ends) -> Any:
    seen: list[Any] = []
    for send in (lambda to, by, data: by.sendall(data), by_tcp):
        with ends.connection() as (near, far):
            send(far, near, b"abc")
            polled(far)
            seen += [far.recv(2, socket.MSG_PEEK), far.recv(9, socket.MSG_PEEK), far.recv(2)]
            send(far, near, b"def")
            until(lambda: queued(far) >= 4)
            seen += [far.recv(9, socket.MSG_PEEK), queued(far), far.recv(9), polled(far, SHORT)]
    return seen


@script
def messages_join(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        for _ in range(100):
            near.sendall(b"abc")
        until(lambda: queued(far) >= 300)
        return [far.recv(200), far.recv(200)]


@script
def wait_for_all(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        far.settimeout(None)
        near.sendall(b"abc")
        later = threading.Timer(SHORT, near.sendall, (b"def",))
        later.start()
        seen = far.recv(6, socket.MSG_WAITALL)
        later.join()
        return seen


@script
def low_water_mark(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 5)
        near.sendall(b"abc")
        seen = [polled(far, SHORT)]
        near.sendall(b"def")
        return [*seen, polled(far), received(far, 6)]


@script
def bytes_queued(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        seen = [queued(far)]
        near.sendall(b"abc")
        polled(far)
        seen += [queued(far), received(far, 1), queued(far), received(far, 2), queued(far)]
        by_tcp(far, near, b"tcp")
        polled(far)
        seen.append(queued(far))
        near.sendall(b"more")
        until(lambda: queued(far) >= 7)
        return [*seen, queued(far), received(far, 7), queued(far)]


@script
def nothing_to_read(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        far.setblocking(False)
        seen = [tried(far.recv, 1)]
        far.settimeout(None)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
        seen.append(tried(far.recv, 1))
        near.sendall(b"abc")
        return [*seen, far.recv(0), far.recv(9), tried(far.recv, 1)]


@script
def send_timeout(ends: Ends) -> Any:
    with ends.connection() as (near, _):
        near.settimeout(None)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 50_000))
        while isinstance(result := tried(near.send, bytes(MIB)), int):
            pass
        return result


@script
def epoll_edges_and_levels(ends: Ends) -> Any:
    seen: list[Any] = []
    for mode in (select.EPOLLET, 0, select.EPOLLONESHOT):
        with ends.connection() as (near, far), select.epoll() as epoll:
            epoll.register(far, select.EPOLLIN | select.EPOLLRDHUP | mode)
            for data in (b"", b"a", b"", b"b", b""):
                near.sendall(data)
                seen.append([event for _, event in epoll.poll(PATIENCE if data else SHORT, 1)])
                if not data and mode == select.EPOLLONESHOT:
                    epoll.modify(far, select.EPOLLIN | mode)
            seen.append(received(far, 2))
            by_tcp(far, near, b"c")
            polled(far)
            seen.append([event for _, event in epoll.poll(SHORT, 1)])
            near.shutdown(socket.SHUT_WR)
            until(lambda: polled(far) & select.POLLRDHUP)
            seen.append([event for _, event in epoll.poll(SHORT, 1)])
    return seen


@script
def several_buffers(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        sent = near.sendmsg([b"ab", b"", b"cdef", b"g"])
        polled(far)
        one, two = bytearray(3), bytearray(10)
        size, ancillary, flags, name = far.recvmsg_into([one, two])
        written = os.writev(near.fileno(), [b"hi", b"j"]) + os.write(near.fileno(), b"k")
        until(lambda: queued(far) >= 4)
        rest = os.read(far.fileno(), 3), os.read(far.fileno(), 3)
        return [sent, size, bytes(one), bytes(two), ancillary, flags, name, written, rest]


@script
def discard_by_truncating(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        near.sendall(b"abcdef")
        polled(far)
        return [len(far.recv(4, socket.MSG_TRUNC)), far.recv(9)]


@script
def sendfile(ends: Ends) -> Any:
    with ends.connection() as (near, far), tempfile.TemporaryFile() as file:
        file.write(bytes(range(256)) * (4 * MIB // 256))
        file.flush()
        arrived: list[bytes] = []
        reader = threading.Thread(target=lambda: arrived.append(received(far, 8 * MIB)))
        reader.start()
        sent = near.sendfile(file)
        near.shutdown(socket.SHUT_WR)
        reader.join(PATIENCE)
        return [sent, arrived[0] == bytes(range(256)) * (4 * MIB // 256)]


@script
def held_back_bytes(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        near.send(b"a", socket.MSG_MORE)
        near.send(b"b")
        seen = [received(far, 2)]
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        near.sendall(b"c")
        near.sendall(b"d")
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        return [*seen, received(far, 2)]


@script
def ping_pong(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        seen = set()
        for number in range(500):
            near.sendall(number.to_bytes(4, "big"))
            far.sendall(received(far, 4)[::-1])
            seen.add(int.from_bytes(received(near, 4), "little") - number)
        return seen


@script
def urgent_byte(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        near.sendall(b"ab")
        near.send(b"!", socket.MSG_OOB)
        near.shutdown(socket.SHUT_WR)
        until(lambda: polled(far) & select.POLLRDHUP)
        return [received(far, 9), tried(far.recv, 1, socket.MSG_OOB)]


@script
def splice_out(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        near.sendall(b"abc")
        polled(far)
        out, into = os.pipe()
        try:
            far.setblocking(False)
            return tried(os.splice, far.fileno(), into, 3)
        finally:
            os.close(out)
            os.close(into)


@script
def inquiry_beside_bytes(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        far.setsockopt(socket.IPPROTO_TCP, TCP_INQ, 1)
        near.sendall(b"abcdef")
        polled(far)
        data, ancillary, _, _ = far.recvmsg(2, 64)
        return [data, [int.from_bytes(value, "little") for _, _, value in ancillary]]


@script
def bytes_counted_by_tcp(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        near.sendall(b"abcdef")
        received(far, 6)
        told = far.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_RECEIVED + 8)
        return int.from_bytes(told[BYTES_RECEIVED:], "little")


@script
def small_buffers_bound_what_waits(ends: Ends) -> Any:
    with ends.connection() as (near, far):
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        near.setblocking(False)
        return any(tried(near.send, bytes(1024)) == "EAGAIN" for _ in range(256))
