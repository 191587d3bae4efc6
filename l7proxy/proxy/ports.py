"""What the proxy needs from its surroundings: who is at a connection's ends, and a way upstream.

Two adapters implement these: ``l7proxy.proxy.userspace`` (explicit listeners, no privileges) and
``l7proxy.datapath.transparent`` (sockets steered here by eBPF).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Protocol

from l7proxy.workloads.model import Address, Peer


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port, as a socket shows it."""

    address: Address
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Downstream:
    """An accepted client connection: who it is, whom it meant, and where that is.

    ``netns`` is the network namespace to reach ``destination`` from (a key of the dialer's own;
    None is the proxy's own namespace).
    """

    client: Peer
    client_endpoint: Endpoint
    server: Peer
    destination: Endpoint
    direction: str = "INGRESS"
    netns: str | None = None


class Resolver(Protocol):
    """Tells who an accepted socket belongs to."""

    def resolve(self, sock: socket.socket) -> Downstream | None:
        """The ends of an accepted connection; None when it cannot be known: refuse it."""


class Dialer(Protocol):
    """Opens upstream connections."""

    async def connect(self, destination: Endpoint, netns: str | None) -> socket.socket:
        """A connected, non-blocking socket. Raises OSError (TimeoutError past the limit)."""

    def release(self, sock: socket.socket) -> None:
        """Called once for every socket that ``connect`` returned, before it is closed."""
