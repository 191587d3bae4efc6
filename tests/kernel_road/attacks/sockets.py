"""Attacks with how a socket is made and connected, and by whom."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

from common import LIBC, PATIENCE, finish, get, hear, say, tcp, tried

MSG_FASTOPEN = 0x20000000
TCP_FASTOPEN_CONNECT = 30
IPPROTO_MPTCP = 262


def fast_open(host: str, port: int, parcel: str, behind: bool = False) -> str:
    """MSG_FASTOPEN: connects and sends without connect()."""
    with socket.socket() as sock:
        sock.settimeout(PATIENCE)
        with contextlib.suppress(OSError):
            data = (get("/ok-before") if behind else b"") + get(parcel)
            sock.sendto(data, MSG_FASTOPEN, (host, port))
        return finish(sock)


def fast_open_connect(host: str, port: int, parcel: str) -> Any:
    """The option that makes the first send() the SYN. A covered socket must not have it."""
    with socket.socket() as sock:
        sock.settimeout(PATIENCE)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        except PermissionError:
            return "refused"
        sock.connect((host, port))
        tried(sock, get(parcel))
        return finish(sock)


def mptcp(host: str, port: int, parcel: str) -> str:
    try:
        sock = tcp(host, port, IPPROTO_MPTCP)
    except PermissionError:
        return "refused"
    tried(sock, get("/ok-before") + get(parcel))
    return finish(sock)


def reconnect(host: str, port: int, parcel: str) -> list[str]:
    """connect() to nowhere ends a connection; the socket's next one is another."""
    found = []
    with socket.socket() as sock:
        for _ in range(4):
            sock.settimeout(PATIENCE)
            sock.connect((host, port))
            tried(sock, get("/ok-before"))
            found.append(sock.recv(4096).decode())
            tried(sock, get(parcel))
            with contextlib.suppress(OSError):
                found.append(sock.recv(4096).decode())
            nowhere = struct.pack("H14x", socket.AF_UNSPEC)
            assert LIBC.connect(sock.fileno(), nowhere, len(nowhere)) == 0
    return found


def passed_on(host: str, port: int, parcel: str, connected: bool) -> str:
    """On a socket that somebody else made; unless it is connected, this program connects it."""
    say("ready")
    (descriptor,) = hear()
    sock = socket.socket(fileno=descriptor)
    sock.settimeout(PATIENCE)
    if not connected:
        sock.connect((host, port))
    tried(sock, get("/ok-before"))
    sock.recv(4096)
    tried(sock, get(parcel))
    return finish(sock)


def moved(host: str, port: int, parcel: str) -> str:
    """A socket made before this process was put into another cgroup."""
    with socket.socket() as sock:
        say("made")
        hear()
        sock.settimeout(PATIENCE)
        sock.connect((host, port))
        tried(sock, get("/ok-before"))
        sock.recv(4096)
        tried(sock, get(parcel))
        return finish(sock)


def early(host: str, port: int, parcel: str) -> str:
    """Before the server has accepted the connection."""
    sock = tcp(host, port)
    tried(sock, get(parcel))
    say("sent")
    return finish(sock, 1)
