"""Two threads that put whole requests and pieces of heads on one socket, many times over."""

from __future__ import annotations

import contextlib
import random
import socket
import threading

from common import PATIENCE, get, put


def upload(target: str, body: bytes) -> bytes:
    return put(target, len(body)) + body


def materials(parcel: str, chance: random.Random) -> list[bytes]:
    """What a thread may send; halves may meet the other's halves."""
    ok, denied = get("/ok-plain"), get(parcel)
    inside = upload("/ok-body", denied)
    cut, at = chance.randrange(1, len(denied)), chance.randrange(1, len(inside))
    return [ok, ok, ok * 3, inside, denied[:cut], denied[cut:], inside[:at], inside[at:], ok[:cut]]


def play(sock: socket.socket, parcel: str, seed: int, start: threading.Barrier) -> None:
    chance = random.Random(seed)
    start.wait(PATIENCE)
    for _ in range(chance.randint(1, 6)):
        with contextlib.suppress(OSError):
            sock.sendall(chance.choice(materials(parcel, chance)))


def whole(sock: socket.socket, parcel: str, seed: int, start: threading.Barrier) -> None:
    """Whole requests only: what is redirected, answered at the client, or swallowed."""
    chance = random.Random(seed)
    ok, denied = get("/ok-plain"), get(parcel)
    choices = [ok, ok * 2, denied, ok + denied, denied + ok, upload("/ok-body", denied)]
    start.wait(PATIENCE)
    for _ in range(chance.randint(1, 6)):
        with contextlib.suppress(OSError):
            sock.sendall(chance.choice(choices))


def read(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(65536):
            pass


def two_threads(host: str, port: int, parcel: str, rounds: int, seed: int) -> int:
    """A connection for each round; how many were made."""
    for number in range(rounds):
        with socket.create_connection((host, port), PATIENCE) as sock:
            sock.sendall(get("/ok-first"))
            start = threading.Barrier(2)
            style = whole if number % 2 else play
            senders = [
                threading.Thread(target=style, args=(sock, parcel, seed + 2 * number + own, start))
                for own in (0, 1)
            ]
            reader = threading.Thread(target=read, args=(sock,))
            for thread in (reader, *senders):
                thread.start()
            for thread in senders:
                thread.join()
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            reader.join()
    return rounds
