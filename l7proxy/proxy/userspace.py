"""Surroundings without privileges: explicit listeners in front of a backend.

A listener stands for one workload; clients are known by their address. ``transparent`` does the
same for sockets steered here by eBPF.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from l7proxy.limits import Limits
from l7proxy.proxy.ports import Downstream, Endpoint, Resolver
from l7proxy.proxy.state import log
from l7proxy.workloads.directory import Directory
from l7proxy.workloads.model import HOST, Peer, Workload, World
from l7proxy.workloads.pods import plain


@dataclass(frozen=True, slots=True)
class ListenSpec:
    """What a listener stands for: the backend behind it, and the workload that backend is.

    ``workload`` is ``namespace/name``, or a name in the namespace ``default``; without one the
    backend's address tells.
    """

    to: Endpoint
    workload: str | None = None


class Adapter:
    """Resolvers by listener, and plain connections.

    Options: ``host_addresses``, the node's own besides loopback.
    """

    def __init__(self, options: Mapping[str, Any], limits: Limits) -> None:
        self._connect_timeout = limits.connect_timeout
        self._host_addresses = tuple(options.get("host_addresses", ()))
        self.directory = Directory((), self._host_addresses)

    def update(self, workloads: Sequence[Workload]) -> None:
        """The workloads of a new snapshot."""
        self.directory = Directory(workloads, self._host_addresses)

    def resolver(self, spec: object) -> Resolver:
        """The resolver for a listener. Raises TypeError unless ``spec`` is a ListenSpec."""
        if not isinstance(spec, ListenSpec):
            raise TypeError(f"a userspace listener needs a ListenSpec, not {type(spec).__name__}")
        return _ListenerResolver(self, spec)

    def route(self, destination: Endpoint, netns: str | None) -> str | None:
        """There is one namespace: the proxy's own."""
        return None

    async def connect(self, destination: Endpoint, netns: str | None) -> socket.socket:
        """A connected, non-blocking socket. Raises OSError, TimeoutError past the limit."""
        family = socket.AF_INET6 if destination.address.version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            address = (str(destination.address), destination.port)
            async with asyncio.timeout(self._connect_timeout):
                await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock

    def release(self, sock: socket.socket) -> None:
        """Nothing was registered for it."""


class _ListenerResolver:
    """The resolver of one listener."""

    __slots__ = ("_adapter", "_spec", "_warned")

    def __init__(self, adapter: Adapter, spec: ListenSpec) -> None:
        self._adapter = adapter
        self._spec = spec
        self._warned = False

    def resolve(self, sock: socket.socket) -> Downstream | None:
        """None, a refusal, while the listener's workload is not known: no policy could hold."""
        server = self._server()
        if server is None:
            return None
        try:
            client, own = endpoint(sock.getpeername()), endpoint(sock.getsockname())
        except OSError:
            return None  # it left before it was accepted
        peer = self._adapter.directory.identify(client.address)
        if isinstance(peer, World) and client.address == own.address:
            peer = HOST
        return Downstream(peer, client, server, self._spec.to)

    def _server(self) -> Peer | None:
        to, name = self._spec.to, self._spec.workload
        if name is None:
            return self._adapter.directory.identify(to.address)
        found = self._adapter.directory.by_id(name if "/" in name else f"default/{name}")
        if found is None and not self._warned:
            log.warning("listener to %s: no workload %s: connections are refused", to, name)
        self._warned = found is None
        return found


def endpoint(name: tuple[Any, ...]) -> Endpoint:
    """A socket name as an endpoint; an IPv4 address that IPv6 wraps is the IPv4 address."""
    return Endpoint(plain(ip_address(name[0].partition("%")[0])), name[1])
