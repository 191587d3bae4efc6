"""Network namespaces of the node: entering them, telling them apart, finding who is in them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from l7proxy.datapath.addresses import plain
from l7proxy.workloads.model import Address

RUN_NETNS = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_SO_NETNS_COOKIE = 71


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def own() -> int:
    """A descriptor of the calling thread's namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def enter(namespace: int) -> None:
    """Moves the calling thread into the namespace of a descriptor. Raises OSError."""
    if _libc().setns(namespace, _CLONE_NEWNET) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"cannot enter a network namespace: {os.strerror(error)}")


@contextlib.contextmanager
def entered(namespace: int | None) -> Iterator[None]:
    """The calling thread is in the namespace inside the block, and back afterwards.

    Nothing in the block may await: another task would run in the wrong namespace. None stays.
    """
    if namespace is None:
        yield
        return
    home = own()
    try:
        enter(namespace)
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(home)


def open_named(name: str) -> int:
    """A descriptor of the namespace ``name`` under /run/netns. Raises OSError."""
    return os.open(RUN_NETNS / name, os.O_RDONLY | os.O_CLOEXEC)


def cookie(namespace: int | None) -> int:
    """The number by which eBPF programs know the namespace; None is the caller's own."""
    with entered(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")


def addresses(namespace: int | None) -> set[Address]:
    """The namespace's own addresses, loopback and link-local ones left out."""
    with entered(namespace):
        found = _ip4_addresses() | _ip6_addresses()
    return {each for each in found if not each.is_loopback and not each.is_link_local}


def _ip4_addresses() -> set[Address]:
    """From the local routes in /proc/net/fib_trie: ``|-- A`` before ``/32 host LOCAL``."""
    found: set[Address] = set()
    leaf = ""
    for line in Path("/proc/thread-self/net/fib_trie").read_text().splitlines():
        text = line.strip()
        if text.startswith("|-- "):
            leaf = text.removeprefix("|-- ")
        elif text == "/32 host LOCAL":
            found.add(plain(leaf))
    return found


def _ip6_addresses() -> set[Address]:
    try:
        lines = Path("/proc/thread-self/net/if_inet6").read_text().splitlines()
    except FileNotFoundError:  # IPv6 is disabled
        return set()
    words = (line.split()[0] for line in lines)
    return {plain(":".join(w[at : at + 4] for at in range(0, 32, 4))) for w in words}


def scope_of(address: Address) -> int:
    """The interface of the calling thread's namespace that has a link-local address; else 0."""
    if not address.is_link_local or address.version == 4:
        return 0
    for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines():
        words = line.split()
        if bytes.fromhex(words[0]) == address.packed:
            return int(words[1], 16)
    return 0


def named() -> Iterator[str]:
    """The names under /run/netns."""
    with contextlib.suppress(FileNotFoundError):
        yield from sorted(path.name for path in RUN_NETNS.iterdir())


def has_ip6() -> bool:
    """Whether the calling thread's namespace has any IPv6 address, loopback included."""
    return bool(_ip6_addresses())
