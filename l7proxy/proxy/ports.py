"""What the proxy needs from its surroundings: who is at a connection's ends, and a way upstream.

Two adapters implement these: ``l7proxy.proxy.userspace`` (explicit listeners, no privileges) and
``l7proxy.datapath.transparent`` (sockets steered here by eBPF).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from l7proxy.workloads.model import Address, Peer, Workload


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
        """The ends of an accepted connection; None when it cannot be known: refuse it.

        ``sock`` is the event loop's view of the socket: ask it for addresses, options and its
        file descriptor, and nothing else.
        """


class Dialer(Protocol):
    """Opens upstream connections."""

    def route(self, destination: Endpoint, netns: str | None) -> str | None:
        """The namespace to reach a forward rule's backend from, given the server's own."""

    async def connect(self, destination: Endpoint, netns: str | None) -> socket.socket:
        """A connected, non-blocking socket. Raises OSError (TimeoutError past the limit)."""

    def release(self, sock: socket.socket) -> None:
        """Called once for every socket that ``connect`` returned, before it is closed."""


class Adapter(Dialer, Protocol):
    """The surroundings as a whole: a dialer, and a resolver for each listener.

    A worker makes one from ``Configure.adapter_options``: ``Adapter(options, limits)``.
    """

    def resolver(self, spec: object) -> Resolver:
        """The resolver for a listener; ``spec`` is what the agent said about it."""

    def update(self, workloads: Sequence[Workload]) -> None:
        """The workloads of a new snapshot; connections accepted from now on are judged by it."""
