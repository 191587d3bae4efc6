"""Attacks with the order and the sizes of what is sent."""

from __future__ import annotations

import contextlib
import random
import socket

from common import PATIENCE, finish, get, hear, put, say, tcp, tried


def one_segment(host: str, port: int, parcel: str) -> str:
    """Behind an allowed request, in one send()."""
    sock = tcp(host, port)
    sock.sendall(get("/ok-before") + get(parcel))
    return finish(sock, 2)


def alone(host: str, port: int, parcel: str) -> str:
    sock = tcp(host, port)
    sock.sendall(get(parcel))
    return finish(sock, 1)


def after_answer(host: str, port: int, parcel: str) -> str:
    """Behind a send() whose beginning was refused, and answered, and whose rest went on."""
    sock = tcp(host, port)
    tried(sock, get("/forbidden-0") + get("/ok-before"))
    tried(sock, get(parcel))
    return finish(sock, 3)


def bytewise(host: str, port: int, parcel: str) -> str:
    sock = tcp(host, port)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in get("/ok-before") + get(parcel):
        tried(sock, bytes([byte]))
    return finish(sock, 2)


def random_cuts(host: str, port: int, parcel: str, rounds: int, seed: int) -> list[str]:
    """Two allowed requests, the parcel, a third, cut anywhere, sent in different ways."""
    chance = random.Random(seed)
    data = get("/ok-before") + put("/ok-body", 50) + bytes(50) + get(parcel) + get("/ok-after")
    answers = []
    for _ in range(rounds):
        sock = tcp(host, port)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        at = 0
        while at < len(data):
            size = chance.choice((1, 2, 10, 60, 200))
            tried(sock, data[at : at + size], chance.choice((0, 0, socket.MSG_MORE)))
            at += size
        answers.append(finish(sock, 4))
    return answers


def many_vectors(host: str, port: int, parcel: str) -> str:
    """writev() of single bytes, more than one message can hold elements."""
    sock = tcp(host, port)
    data = get("/ok-before") + get(parcel)
    with contextlib.suppress(OSError):
        sock.sendmsg([data[at : at + 1] for at in range(len(data))])
    return finish(sock, 2)


def giant(host: str, port: int, parcel: str) -> str:
    """The kernel shows a send() of more than 557056 bytes in several messages."""
    sock = tcp(host, port)
    for size in (557056 - len(put("/ok-body", 557056)), 600_000, 1 << 20):
        tried(sock, put("/ok-body", size) + bytes(size) + get("/ok-between"))
    tried(sock, put("/ok-body", 600_000) + bytes(600_000) + get(parcel))
    return finish(sock, 8)


def urgent(host: str, port: int, parcel: str, out_of_line: str) -> str:
    """Each byte of the parcel's request sent as urgent data in turn, and one more that a reader
    who leaves urgent data out of line does not see: with it the request is allowed."""
    for at in (1, 6, -3, -1):
        sock = tcp(host, port)
        data = get("/ok-before") + get(parcel)
        cut = at % len(get(parcel)) + len(get("/ok-before"))
        tried(sock, data[:cut])
        tried(sock, data[cut : cut + 1], socket.MSG_OOB)
        tried(sock, data[cut + 1 :])
        finish(sock)
    sock = tcp(host, port)
    before, _, after = get(out_of_line).partition(b"!")
    tried(sock, before + b"!", socket.MSG_OOB)  # the last byte of the message is the urgent one
    tried(sock, after)
    return finish(sock)


def after_partial(host: str, port: int, parcel: str, whole: bool) -> str:
    """Fills the send buffer until a send() is cut short, then sends something else. ``whole``: by
    requests with their bodies in one send(), which are redirected; else by one upload."""
    size = 200_000
    request = put("/ok-body", size) + bytes(size)
    sock = tcp(host, port)
    sock.setblocking(False)
    left = b""
    sent = total = 0
    if not whole:
        total = 16 << 20
        sock.send(put("/ok-body", total))
    while True:
        data = request if whole else bytes(min(size, total - sent))
        try:
            done = sock.send(data)
        except BlockingIOError:
            break
        sent += done
        if done < len(data):
            left = data[done:]
            break
    say("full")
    hear()  # the server reads on
    sock.settimeout(PATIENCE)
    rest = left if whole else bytes(total - sent)
    if rest:
        sock.sendall(rest[:-1])
    tried(sock, rest[-1:] + get(parcel))
    tried(sock, get(parcel))
    return finish(sock)
