"""Connections of a namespace that are open now: listing them, and resetting one.

Resetting uses SOCK_DESTROY of sock_diag(7): both ends see a reset, as if a firewall had cut in.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from l7proxy.proxy.ports import Endpoint
from l7proxy.workloads.model import Address

# enum in the kernel's net/tcp_states.h
ESTABLISHED = 1
SYN_RECEIVED = 3
TIME_WAIT = 6
CLOSE_WAIT = 8
LISTEN = 10
_CLOSE = 7
_NETLINK_SOCK_DIAG = 4
_SOCK_DESTROY = 21
_NLM_F_REQUEST_ACK = 0x01 | 0x04
_NLMSG_ERROR = 2
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI")  # struct inet_diag_req_v2 up to its socket id
_ANY_COOKIE = b"\xff" * 8


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """One TCP socket as /proc/net/tcp shows it; ``state`` as in the kernel's tcp_states.h."""

    family: int
    local: Endpoint
    remote: Endpoint
    state: int
    inode: int
    raw_local: bytes
    raw_remote: bytes


def sockets() -> Iterator[OpenSocket]:
    """All TCP sockets of the calling thread's namespace but closed and waiting ones."""
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        with suppress(FileNotFoundError):  # IPv6 is disabled
            for line in Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]:
                fields = line.split()
                state = int(fields[3], 16)
                if state in (TIME_WAIT, _CLOSE):
                    continue
                local, remote = _split(fields[1]), _split(fields[2])
                yield OpenSocket(
                    family,
                    _endpoint(*local),
                    _endpoint(*remote),
                    state,
                    int(fields[9]),
                    local[0],
                    remote[0],
                )


def reset(victims: list[OpenSocket]) -> int:
    """Resets connections of the calling thread's namespace; how many were there to reset.

    Raises OSError, EOPNOTSUPP on a kernel without CONFIG_INET_DIAG_DESTROY.
    """
    done = 0
    if not victims:
        return 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as diag:
        for number, each in enumerate(victims, 1):
            ports = struct.pack("!HH", each.local.port, each.remote.port)
            where = each.raw_local.ljust(16, b"\0") + each.raw_remote.ljust(16, b"\0")
            body = _REQUEST.pack(each.family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
            body += ports + where + bytes(4) + _ANY_COOKIE
            length = _HEADER.size + len(body)
            diag.send(_HEADER.pack(length, _SOCK_DESTROY, _NLM_F_REQUEST_ACK, number, 0) + body)
            answer = diag.recv(4096)
            kind = struct.unpack_from("=H", answer, 4)[0]
            error = -struct.unpack_from("=i", answer, 16)[0] if kind == _NLMSG_ERROR else 0
            if error == 0:
                done += 1
            elif error == 95:  # EOPNOTSUPP
                raise OSError(error, "the kernel cannot reset connections (INET_DIAG_DESTROY)")
    return done


def _split(text: str) -> tuple[bytes, int]:
    """Address and port; the kernel prints each 32-bit word of an address in host byte order."""
    where, _, port = text.partition(":")
    words = [int(where[at : at + 8], 16) for at in range(0, len(where), 8)]
    return b"".join(struct.pack("=I", word) for word in words), int(port, 16)


def _endpoint(raw: bytes, port: int) -> Endpoint:
    address: Address
    if len(raw) == 4:
        address = IPv4Address(raw)
    else:
        six = IPv6Address(raw)
        address = six.ipv4_mapped or six
    return Endpoint(address, port)
