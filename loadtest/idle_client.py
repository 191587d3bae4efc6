"""Opens idle connections and holds them. Started as a plain file, needs no package.

``python idle_client.py HOST PORT TARGET COUNT``: each connection makes one request that must be
answered 200. Prints ``open`` when all are, and ends when its standard input does.
"""

from __future__ import annotations

import resource
import socket
import sys

TIMEOUT = 30.0


def connect(host: str, port: int, target: str) -> socket.socket:
    """A connection on which one request was answered. Raises RuntimeError if it was not."""
    made = socket.create_connection((host, port), TIMEOUT)
    made.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        got = made.recv(4096)
        if not got:
            break
        answer += got
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end or not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"an idle connection got {answer[:80]!r}")
    lines = head.lower().split(b"\r\n")
    length = int(next(x for x in lines if x.startswith(b"content-length:")).partition(b":")[2])
    while len(body) < length:
        body += made.recv(4096)
    return made


def main(host: str, port: int, target: str, count: int) -> None:
    """Open, say so, and hold."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = [connect(host, port, target) for _ in range(count)]
    print("open", flush=True)
    sys.stdin.read()
    for each in held:
        each.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
