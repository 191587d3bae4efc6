"""Asks over and over whatever happens, and judges every byte of every answer. Needs no package.

``python client.py HOST PORT``: some connections, each made anew when it breaks, until SIGTERM.
Prints one JSON object: how many requests were answered, lost (no whole answer came), excused (the
proxy said that the server is away), wrong (in words), how many were in flight at the last SIGUSR1,
and the longest time in seconds that one connection was without a good answer.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import sys
import threading
import time

CONNECTIONS = 3
TIMEOUT = 3.0
AGAIN = 0.02
PAUSE = 0.02
"""Seconds between two requests of a connection: the others on this machine have to live too."""
AGENT = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
REFUSALS = (403,)
EXCUSES = (502, 503, 504)
"""What the proxy says of a server that is away, which is right while it is."""
LARGEST = 20_000
"""Bytes of a request's content; an answer repeats it."""


class Connection:
    """Counts, and the connection of the moment."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self.answered = self.lost = self.excused = 0
        self.wrong: list[str] = []
        self.longest = 0.0
        self.is_asking = False
        self._name = f"{port}-{seed}"
        self._chance = random.Random(self._name)
        self._address = (host, port)
        self._sock: socket.socket | None = None
        self._data = b""

    def run(self, stop: threading.Event) -> None:
        """Asks until it is stopped."""
        good, number = time.monotonic(), 0
        while not stop.is_set():
            number += 1
            self.is_asking = True
            is_right = self._ask(number)
            self.is_asking = False
            now = time.monotonic()
            self.longest = max(self.longest, now - good)
            if is_right:
                good = now
            time.sleep(PAUSE if is_right else AGAIN)
        self._close()

    def _ask(self, number: int) -> bool:
        """One request; whether its answer was right."""
        allowed = self._chance.random() < 0.7
        content = b""
        if allowed and self._chance.random() < 0.2:
            content = self._chance.randbytes(self._chance.randrange(1, LARGEST))
        target = f"/{'ok' if allowed else 'no'}/{self._name}/{number}"
        try:
            status, body = self._exchange(target, content)
        except (OSError, EOFError):
            self.lost += 1
            self._close()
            return False
        if status in EXCUSES:
            self.excused += 1
            return False
        self.answered += 1
        if allowed and (status != 200 or body != target.encode() + content):
            self.wrong.append(f"{target}: {status} {body[:60]!r}")
        elif not allowed and status not in REFUSALS:
            self.wrong.append(f"{target}: {status} for what is refused")
        return True

    def _exchange(self, target: str, content: bytes) -> tuple[int, bytes]:
        if self._sock is None:
            self._sock = socket.create_connection(self._address, TIMEOUT)
            self._data = b""
        head = f"GET {target} HTTP/1.1\r\nHost: users\r\n{AGENT}"
        if content:
            head = head.replace("GET", "POST") + f"Content-Length: {len(content)}\r\n"
        self._sock.sendall(f"{head}\r\n".encode() + content)
        while b"\r\n\r\n" not in self._data:
            self._more()
        answer, _, self._data = self._data.partition(b"\r\n\r\n")
        lines = answer.decode("latin-1").lower().split("\r\n")
        fields = {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines[1:]}
        size = int(fields.get("content-length", "0"))
        while len(self._data) < size:
            self._more()
        body, self._data = self._data[:size], self._data[size:]
        if self._data:
            self.wrong.append(f"{target}: {self._data[:60]!r} behind the answer")
        if fields.get("connection") == "close":
            self._close()
        return int(lines[0].split()[1]), body

    def _more(self) -> None:
        assert self._sock is not None
        data = self._sock.recv(65536)
        if not data:
            raise EOFError
        self._data += data

    def _close(self) -> None:
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.close()
            self._sock = None


def main(host: str, port: int) -> None:
    stop = threading.Event()
    asking = 0
    connections = [Connection(host, port, number) for number in range(CONNECTIONS)]

    def look(*_: object) -> None:
        nonlocal asking
        asking = sum(each.is_asking for each in connections)

    signal.signal(signal.SIGUSR1, look)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threads = [threading.Thread(target=each.run, args=(stop,)) for each in connections]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)
    counts = {
        name: sum(getattr(each, name) for each in connections)
        for name in ("answered", "lost", "excused")
    }
    wrong = [each for connection in connections for each in connection.wrong]
    longest = max(each.longest for each in connections)
    print(json.dumps(counts | {"wrong": wrong, "in_flight": asking, "longest": longest}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
