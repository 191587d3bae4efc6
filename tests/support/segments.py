"""Segments as TCP sends them after a loss: cut elsewhere than the first time, so that they begin
with bytes that the receiver has already.

A kernel sends such ones when it must, not when a test needs them.
"""

from __future__ import annotations

import socket
import struct
import sys

from l7proxy.demo.places import Place

_TCP = struct.Struct("!HHIIBBHHH")
_IP = struct.Struct("!BBHHHBBH4s4s")
_PSH_ACK = 0x18
_WINDOW = 0xFFFF
_TCP_REPAIR, _TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ = 19, 20, 21  # linux/tcp.h
_RECV_QUEUE, _SEND_QUEUE = 1, 2
_REPAIR_OFF_NO_PROBE = -1
_SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
    sock.sendto(bytes.fromhex(sys.argv[2]), (sys.argv[1], 0))
"""


def send_ahead(place: Place, sock: socket.socket, known: bytes, more: bytes) -> None:
    """One segment of an IPv4 connection of ``place``: ``known``, the last bytes that ``sock`` has
    sent, and ``more`` behind them.

    The receiver has ``more`` then, the socket's own kernel does not know of it. Once ``sock`` has
    sent the same bytes too, both ends agree again.
    """
    address, port = sock.getsockname()
    peer, peer_port = sock.getpeername()
    ours, theirs = socket.inet_aton(address), socket.inet_aton(peer)
    sent, received = _sequence_numbers(sock)
    data = known + more
    parts = [port, peer_port, (sent - len(known)) % 2**32, received, 5 << 4, _PSH_ACK, _WINDOW]
    pseudo = struct.pack("!4s4sHH", ours, theirs, socket.IPPROTO_TCP, _TCP.size + len(data))
    checksum = _checksum(pseudo + _TCP.pack(*parts, 0, 0) + data)
    # The kernel fills in the length and the checksum of the IP header, raw(7).
    packet = _IP.pack(0x45, 0, 0, 0, 0, 64, socket.IPPROTO_TCP, 0, ours, theirs)
    packet += _TCP.pack(*parts, checksum, 0) + data
    done = place.run([sys.executable, "-I", "-S", "-c", _SEND, peer, packet.hex()])
    assert not done.returncode, done.stderr


def _sequence_numbers(sock: socket.socket) -> tuple[int, int]:
    """Of the next byte to be sent and of the next to be received."""
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    try:
        found = []
        for queue in (_SEND_QUEUE, _RECV_QUEUE):
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, queue)
            found.append(sock.getsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ) % 2**32)
        return found[0], found[1]
    finally:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _REPAIR_OFF_NO_PROBE)


def _checksum(data: bytes) -> int:
    """Of the Internet's protocols (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
