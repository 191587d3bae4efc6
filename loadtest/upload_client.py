"""Uploads one body again and again, and prints how many in how long. Needs no package.

``python upload_client.py HOST PORT (length|chunked) BYTES SECONDS``: one connection, one upload
after the other, each with a head of its own and the body in writes of WRITE bytes, all prepared
before. The first upload is not counted; at least one is.
"""

from __future__ import annotations

import json
import socket
import sys
import time

WRITE = 1 << 16
CHUNK = 1 << 14
TIMEOUT = 60.0


def head(host: str, coding: str, size: int) -> bytes:
    """The head of an upload."""
    framing = f"Content-Length: {size}" if coding == "length" else "Transfer-Encoding: chunked"
    return f"POST /upload HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n\r\n".encode()


def writes(coding: str, size: int) -> list[bytes]:
    """What to write for a body; chunks have CHUNK bytes."""
    shared: dict[int, bytes] = {}
    pieces = []
    for at in range(0, size, WRITE):
        length = min(WRITE, size - at)
        if length not in shared:
            shared[length] = b"x" * length if coding == "length" else _chunks(length)
        pieces.append(shared[length])
    return pieces if coding == "length" else [*pieces, b"0\r\n\r\n"]


def _chunks(size: int) -> bytes:
    sizes = [min(CHUNK, size - at) for at in range(0, size, CHUNK)]
    return b"".join(b"%x\r\n%s\r\n" % (each, b"x" * each) for each in sizes)


def upload(connection: socket.socket, first: bytes, pieces: list[bytes]) -> None:
    """One upload. Raises RuntimeError if it is not answered with 204."""
    connection.sendall(first)
    for piece in pieces:
        connection.sendall(piece)
    answer = b""
    while b"\r\n\r\n" not in answer:
        got = connection.recv(65536)
        if not got:
            raise RuntimeError(f"closed after {answer[:80]!r}")
        answer += got
    if not answer.startswith(b"HTTP/1.1 204 "):
        raise RuntimeError(f"answered {answer[:80]!r}")


def main(host: str, port: int, coding: str, size: int, seconds: float) -> None:
    """Upload for so long, and print the result as JSON."""
    first, pieces = head(host, coding, size), writes(coding, size)
    with socket.create_connection((host, port), TIMEOUT) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        upload(connection, first, pieces)
        count, begin = 0, time.perf_counter()
        while True:
            upload(connection, first, pieces)
            count += 1
            spent = time.perf_counter() - begin
            if spent >= seconds:
                break
    print(json.dumps({"uploads": count, "seconds": spent}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
