"""Sends requests of every kind and writes down what became of each. Needs no package.

``python client.py HOST PORT NAME COUNT WAY``: COUNT requests, each with a target of its own, and
on standard output a JSON line ``[method, target, status]`` for each, status null where no answer
came. WAY is ``redirect``, ``tcp`` or ``proxy``: whether a connection goes on behind a refusal that
was sent together with other requests.
"""

from __future__ import annotations

import json
import random
import socket
import sys
from collections.abc import Iterator

TIMEOUT = 30.0
METHODS = ("GET", "GET", "GET", "HEAD", "POST")
REFUSALS = 3
"""In what is sent together: with more of them a connection may end."""
AGENT = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"


class Connection:
    """One connection at a time, made anew when it has ended."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._sock: socket.socket | None = None
        self._data = b""
        self.is_over = False
        """Whether the last answer said that none follows."""

    def send(self, data: bytes) -> None:
        if self._sock is None:
            self._sock = socket.create_connection(self._address, TIMEOUT)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._data = b""
        self._sock.sendall(data)

    def answer(self, method: str) -> int | None:
        """The status of the next answer, None where the connection ends instead."""
        while b"\r\n\r\n" not in self._data:
            if not self._more():
                return None
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
        size = 0 if method == "HEAD" else int(fields.get("content-length", "0"))
        while len(self._data) < size:
            if not self._more():
                return None
        self._data = self._data[size:]
        self.is_over = fields.get("connection") == "close"
        if self.is_over:
            self.close()
        return int(lines[0].split()[1])

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _more(self) -> bool:
        if self._sock is None:
            return False
        try:
            data = self._sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.close()
        self._data += data
        return bool(data)


def request(method: str, target: str) -> bytes:
    body = f"about {target}" if method == "POST" else ""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: users\r\n{AGENT}{length}\r\n{body}".encode()


def batches(name: str, count: int, way: str) -> Iterator[list[tuple[str, str]]]:
    """What is sent together; the last of a batch may be one that is never answered."""
    chance = random.Random(name)
    number = 0
    while number < count:
        size = min(chance.choice((1, 1, 1, 2, 5, 12)), count - number)
        batch: list[tuple[str, str]] = []
        refusals = REFUSALS if way == "redirect" or size == 1 else 0
        for at in range(size):
            refused = refusals > 0 and chance.random() < 0.3
            refusals -= refused
            last = at == size - 1
            kind = "no" if refused else "hang" if last and chance.random() < 0.05 else "ok"
            method = chance.choice(METHODS) if kind != "hang" else "GET"
            batch.append((method, f"/{kind}/{name}-{number}"))
            number += 1
        yield batch


def main(host: str, port: int, name: str, count: int, way: str) -> None:
    connection = Connection(host, port)
    for batch in batches(name, count, way):
        connection.send(b"".join(request(*each) for each in batch))
        for method, target in batch:
            print(json.dumps([method, target, connection.answer(method)]))
            if connection.is_over:
                break  # what was sent behind it has never been a request
        if batch[-1][1].startswith("/hang"):
            connection.close()
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
