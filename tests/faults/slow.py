"""Many clients that begin a request and never come to its end. Needs no package.

``python slow.py HOST PORT,PORT... COUNT``: prints how many are connected once all have tried, and
goes on until standard input ends: each sends a byte now and then. All end by a reset.
"""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import sys
import time
from itertools import cycle

HEAD = b"GET /ok/slow HTTP/1.1\r\nHost: users\r\nX-Slow: "
AT_ONCE = 200
CONNECT_SECONDS = 5.0
ROUND_SECONDS = 6.0
"""In which each client sends a byte: less than what the proxy gives a whole head."""
RESET = (1).to_bytes(4, "little") + bytes(4)


def connect(host: str, ports: list[int]) -> list[socket.socket]:
    """Connections to these ports, all at once; those that came about."""
    waiting = select.poll()
    begun: dict[int, socket.socket] = {}
    for port in ports:
        made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        made.connect_ex((host, port))
        begun[made.fileno()] = made
        waiting.register(made, select.POLLOUT)
    ready: list[socket.socket] = []
    end = time.monotonic() + CONNECT_SECONDS
    while begun and time.monotonic() < end:
        for number, _ in waiting.poll(100):
            made = begun.pop(number)
            waiting.unregister(number)
            if made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                made.send(HEAD)
                ready.append(made)
    for made in begun.values():
        made.close()
    return ready


def main(host: str, ports: list[int], count: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    wanted = [port for port, _ in zip(cycle(ports), range(count), strict=False)]
    clients: list[socket.socket] = []
    for at in range(0, count, AT_ONCE):
        clients += connect(host, wanted[at : at + AT_ONCE])
    print(len(clients), flush=True)
    some = max(1, len(clients) // 60)
    for at in cycle(range(0, len(clients), some)):
        for client in clients[at : at + some]:
            with contextlib.suppress(OSError):
                client.send(b"x")
        if select.select([sys.stdin], [], [], ROUND_SECONDS / 60)[0]:
            break


if __name__ == "__main__":
    main(sys.argv[1], [int(port) for port in sys.argv[2].split(",")], int(sys.argv[3]))
