"""TCP sockets of a namespace that are open now: listing them, and resetting connections.

Both by sock_diag(7), which names a socket by its cookie: the number by which eBPF programs know
it too, and which no other socket of this boot ever has. Resetting is SOCK_DESTROY: both ends see
a reset, as if a firewall had cut in.

Sockets are those of the namespace that the calling thread is in, see ``netns.entered``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Container, Iterator
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
_NEW_SYN_RECEIVED = 12
ALL = (1 << _NEW_SYN_RECEIVED + 1) - 2 & ~(1 << TIME_WAIT | 1 << _CLOSE)
"""A bit for each state but those in which nobody has the socket any more."""
LISTENING = 1 << LISTEN

# linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_SOCK_DESTROY = 21
_NLM_F_REQUEST_ACK = 0x01 | 0x04
_NLM_F_REQUEST_DUMP = 0x01 | 0x300
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_ASK_FOR_INFO = 1 << 2 - 1  # INET_DIAG_INFO, which _ULP_INFO comes with
_ULP_INFO = 19
_ULP_NAME = 1
_CGROUP_ID = 21
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_REQUEST = struct.Struct("=BBBBI")  # struct inet_diag_req_v2 up to its socket id
_SOCKET_ID = struct.Struct("=2s2s16s16sIQ")  # struct inet_diag_sockid
_MESSAGE = struct.Struct("=BBBB2s2s16s16sIQIIIII")  # struct inet_diag_msg
_COOKIE_AT = 44  # of it
_COOKIE = struct.Struct("=Q")
_NO_ID = bytes(_SOCKET_ID.size)
_ANY_COOKIE = 2**64 - 1
_RECEIVE_BYTES = 1 << 16  # the kernel sends a dump in pieces of at most half as much


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """One TCP socket; ``state`` as in the kernel's tcp_states.h.

    ``family``   AF_INET6 also for an IPv6 socket with IPv4 addresses, whose endpoints are IPv4
    ``inode``    as in /proc/PID/fd; 0 while no process has the socket
    ``cookie``   0: not known
    ``cgroup``   the id, which is the folder's inode, of the cgroup where it was made, whoever has
                 it now; of an accepted socket, its listener's. 0: not known
    ``layer``    the upper-layer protocol inside the socket, as ``mptcp``; told only where nothing
                 but listening sockets is listed
    ``unsent``   bytes that it was given to send and that the other end has not acknowledged
    """

    family: int
    local: Endpoint
    remote: Endpoint
    state: int
    inode: int
    raw_local: bytes
    raw_remote: bytes
    interface: int = 0
    cookie: int = 0
    cgroup: int = 0
    layer: str = ""
    unsent: int = 0


def sockets(states: int = ALL, cookies: Container[int] | None = None) -> Iterator[OpenSocket]:
    """The TCP sockets in these states, or of those only the ones with these cookies.

    A socket that comes or goes meanwhile may be left out, and seldom one beside it; or be there
    twice. Raises OSError.
    """
    extensions = _ASK_FOR_INFO if states == LISTENING else 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as diag:
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _REQUEST.pack(family, socket.IPPROTO_TCP, extensions, 0, states) + _NO_ID
            diag.send(_framed(_SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, family, body))
            for message in _dumped(diag, family):
                if cookies is None or _COOKIE.unpack_from(message, _COOKIE_AT)[0] in cookies:
                    yield _socket(message)


def reset(victims: list[OpenSocket]) -> int:
    """Resets connections; how many were there to reset.

    Where the cookie is known, exactly that socket and none that has its addresses by now. Raises
    OSError: EOPNOTSUPP on a kernel without CONFIG_INET_DIAG_DESTROY, EPERM without CAP_NET_ADMIN.
    """
    done = 0
    if not victims:
        return 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as diag:
        for number, each in enumerate(victims, 1):
            body = _REQUEST.pack(each.family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
            body += _SOCKET_ID.pack(
                each.local.port.to_bytes(2, "big"),
                each.remote.port.to_bytes(2, "big"),
                each.raw_local,
                each.raw_remote,
                each.interface,
                each.cookie or _ANY_COOKIE,
            )
            diag.send(_framed(_SOCK_DESTROY, _NLM_F_REQUEST_ACK, number, body))
            error = _error(diag.recv(_RECEIVE_BYTES))
            if error == 0:
                done += 1
            elif error == errno.EOPNOTSUPP:
                raise OSError(error, "the kernel cannot reset connections (INET_DIAG_DESTROY)")
            elif error == errno.EPERM:
                raise OSError(error, "not allowed to reset connections (CAP_NET_ADMIN)")
    return done


def socket_inodes(pid: int) -> Iterator[int]:
    """The sockets that a process has open; none if it is gone."""
    with contextlib.suppress(OSError):
        for descriptor in (Path("/proc") / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    yield int(target[8:-1])


def _framed(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, number, 0) + body


def _error(answer: bytes) -> int:
    """The errno of an answer that is NLMSG_ERROR, which 0 makes an acknowledgement."""
    kind = _HEADER.unpack_from(answer)[1]
    return -struct.unpack_from("=i", answer, _HEADER.size)[0] if kind == _NLMSG_ERROR else 0


def _dumped(diag: socket.socket, family: int) -> Iterator[memoryview]:
    """Each struct inet_diag_msg of a dump, with the attributes that follow it."""
    while True:
        received = diag.recv(_RECEIVE_BYTES)
        at = 0
        while at < len(received):
            length, kind = _HEADER.unpack_from(received, at)[:2]
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                error = _error(received[at:])
                if error == errno.ENOENT and family == socket.AF_INET6:
                    return  # a kernel without IPv6
                raise OSError(error, f"cannot list sockets (INET_TCP_DIAG): {os.strerror(error)}")
            yield memoryview(received)[at + _HEADER.size : at + length]
            at += length + 3 & ~3


def _socket(message: memoryview) -> OpenSocket:
    (
        family, state, _, _, local_port, remote_port, local, remote, interface, cookie,
        _, _, unsent, _, inode,
    ) = _MESSAGE.unpack_from(message)  # fmt: skip
    cgroup, layer = 0, ""
    for kind, content in _attributes(message[_MESSAGE.size :]):
        if kind == _CGROUP_ID:
            cgroup = int(_COOKIE.unpack(content)[0])
        elif kind == _ULP_INFO:
            names = (bytes(name) for inner, name in _attributes(content) if inner == _ULP_NAME)
            layer = next(names, b"").rstrip(b"\0").decode()
    if family == socket.AF_INET:
        local, remote = local[:4], remote[:4]
    return OpenSocket(
        family,
        Endpoint(_address(local), int.from_bytes(local_port, "big")),
        Endpoint(_address(remote), int.from_bytes(remote_port, "big")),
        state,
        inode,
        local,
        remote,
        interface,
        cookie,
        cgroup,
        layer,
        unsent if state != LISTEN else 0,  # there it is the length of the queue
    )


def _attributes(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(content):
        length, kind = _ATTRIBUTE.unpack_from(content, at)
        yield kind & 0x3FFF, content[at + _ATTRIBUTE.size : at + length]
        at += max(length, _ATTRIBUTE.size) + 3 & ~3


def _address(raw: bytes) -> Address:
    if len(raw) == 4:
        return IPv4Address(raw)
    six = IPv6Address(raw)
    return six.ipv4_mapped or six
