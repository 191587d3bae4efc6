"""What the attacks share: requests, connections, and talking to the test.

Isolated programs import it, so it depends on the standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import socket
import sys
from typing import Any

PATIENCE = 10.0
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
LIBC = ctypes.CDLL(None, use_errno=True)
_control: list[socket.socket] = []


def talk(descriptor: int) -> None:
    """By this socket the test is told, and gives its signs."""
    _control.append(socket.socket(fileno=descriptor))


def say(words: Any) -> None:
    _control[0].send(json.dumps(words).encode())


def hear() -> list[int]:
    """Waits for a sign; the descriptors that came along."""
    datagram, descriptors, _, _ = socket.recv_fds(_control[0], 100, 4)
    if datagram != b"go":
        sys.exit("the test is gone")
    return list(descriptors)


def get(target: str) -> bytes:
    """As long as a real one, so that a whole answer fits into its place."""
    return f"GET {target} HTTP/1.1\r\nHost: x\r\nUser-Agent: {AGENT}\r\n\r\n".encode()


def put(target: str, size: int) -> bytes:
    return f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()


def tcp(host: str, port: int, protocol: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM, protocol)
    made.settimeout(PATIENCE)
    made.connect((host, port))
    return made


def finish(sock: socket.socket, answers: int = 0) -> str:
    """Waits for so many answers, or one that says that it is the last, then sends nothing more;
    what was answered until the end of the connection, however it ends."""
    found, is_last = b"", False
    with sock, contextlib.suppress(OSError):
        sock.settimeout(PATIENCE)
        while True:
            last = b"Connection: close\r\n" in found or found.count(b"HTTP/1.1 ") >= answers
            if last and not is_last:
                is_last = True
                sock.shutdown(socket.SHUT_WR)
            part = sock.recv(65536)
            if not part:
                break
            found += part
    return found.decode("latin-1")


def tried(sock: socket.socket, data: bytes, flags: int = 0) -> None:
    """Sends what the socket takes; a refused attempt is the end of it."""
    with contextlib.suppress(OSError):
        sock.sendall(data, flags)
