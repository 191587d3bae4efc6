"""Asks over and over whatever happens, and judges every answer. Needs no package.

``python client.py HOST PORT SECONDS``: one connection, made anew when it breaks. Prints one JSON
object: how many requests were answered, lost (no whole answer came), wrong (in words), and the
longest time in seconds without an answer that was right.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import sys
import time

TIMEOUT = 2.0
AGAIN = 0.02
AGENT = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
REFUSALS = (403,)
EXCUSES = (502, 503, 504)
"""What the proxy says of a server that is away, which is right while it is."""


class Client:
    """Counts, and the connection of the moment."""

    def __init__(self, host: str, port: int) -> None:
        self.answered = self.lost = self.excused = 0
        self.wrong: list[str] = []
        self._address = (host, port)
        self._sock: socket.socket | None = None
        self._data = b""

    def ask(self, number: int, allowed: bool) -> bool:
        """One request; whether its answer was right."""
        target = f"/{'ok' if allowed else 'no'}/{number}"
        try:
            status, body = self._exchange(target)
        except (OSError, EOFError):
            self.lost += 1
            self._close()
            return False
        if status in EXCUSES:
            self.excused += 1
            return False
        self.answered += 1
        if allowed and (status != 200 or body != target.encode()):
            self.wrong.append(f"{target}: {status} {body[:60]!r}")
        elif not allowed and status not in REFUSALS:
            self.wrong.append(f"{target}: {status} for what is refused")
        return True

    def _exchange(self, target: str) -> tuple[int, bytes]:
        if self._sock is None:
            self._sock = socket.create_connection(self._address, TIMEOUT)
            self._data = b""
        self._sock.sendall(f"GET {target} HTTP/1.1\r\nHost: users\r\n{AGENT}\r\n".encode())
        while b"\r\n\r\n" not in self._data:
            self._more()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        fields = {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines[1:]}
        size = int(fields.get("content-length", "0"))
        while len(self._data) < size:
            self._more()
        body, self._data = self._data[:size], self._data[size:]
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


def main(host: str, port: int, seconds: float) -> None:
    client, chance = Client(host, port), random.Random(port)
    begin = good = time.monotonic()
    longest, number = 0.0, 0
    while time.monotonic() < begin + seconds:
        number += 1
        if client.ask(number, chance.random() < 0.7):
            now = time.monotonic()
            longest, good = max(longest, now - good), now
        else:
            time.sleep(AGAIN)
    longest = max(longest, time.monotonic() - good)
    said = {name: getattr(client, name) for name in ("answered", "lost", "excused", "wrong")}
    print(json.dumps(said | {"longest": longest}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
