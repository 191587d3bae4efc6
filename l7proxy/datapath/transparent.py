"""A worker's view of steered sockets: whose they are, and how to reach the server they meant.

The kernel's maps tell the client's identity and the original destination of steered egress; the
socket's own addresses tell everything else, because steering rewrites nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from l7proxy.datapath import libbpf, netns
from l7proxy.datapath.addresses import (
    ADDRESS_BITS,
    EPOCH_BITS,
    identity_number,
    packed,
    plain,
    stays_inside,
    unpacked,
)
from l7proxy.datapath.listening import Recorded
from l7proxy.datapath.names import FLAG_LOCAL, IDENTITY_HOST, IDENTITY_STRANGER
from l7proxy.datapath.store import Store
from l7proxy.limits import Limits
from l7proxy.proxy.ports import Downstream, Endpoint
from l7proxy.workloads.directory import Directory
from l7proxy.workloads.model import HOST, Peer, Workload, World

_SO_COOKIE = 57

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


class Adapter:
    """Resolves and dials for sockets that the datapath steered here."""

    def __init__(self, options: Mapping[str, Any], limits: Limits) -> None:
        self._limits = limits
        store = Store(Path(options["folder"]), options["layouts"])
        self._flows = store.table("flows")
        self._origins = store.table("origins")
        self._recorded = Recorded(store)
        self._upstreams = store.table("upstreams")
        self._identities = store.table("identities")
        self._state = store.table("state")
        self._host_addresses = options["host_addresses"]
        self._key: bytes = options["identity_key"]
        self._namespaces: dict[str, _Namespace] = {}
        self._admitted: dict[int, dict[str, int | bytes]] = {}
        self._forget_the_dead()
        self.update(())

    def update(self, workloads: Sequence[Workload]) -> None:
        """The workloads of a new snapshot."""
        self._directory = Directory(workloads, self._host_addresses)
        self._by_number: dict[int, Peer] = {
            identity_number(each, self._key): each for each in workloads
        }
        self._by_number[IDENTITY_HOST] = HOST

    def resolver(self, spec: object) -> _Resolver:
        """``spec`` is what ``EbpfDatapath.listeners`` says about the listener."""
        if not isinstance(spec, Mapping):
            raise TypeError("a transparent listener needs its namespace")
        return _Resolver(self, spec["netns"], spec["cookie"], spec["identity"], spec["proxy_port"])

    def route(self, destination: Endpoint, netns: str | None) -> str | None:
        """A workload of this node is reached from inside its own namespace, which no policy of
        its peers concerns: the rule that forwards has decided. Others from the server's."""
        workload = self._directory.by_address(destination.address)
        if workload is not None and workload.netns is not None:
            return workload.netns
        return netns

    async def connect(self, destination: Endpoint, netns: str | None) -> socket.socket:
        """Connects from inside ``netns``, with the steering program told to let it through.

        The exemption is for the exact addresses and ports: the socket is bound first, and
        without SO_REUSEADDR nobody else can have that address and port. Raises OSError.
        """
        place = self._namespace(netns)
        sock, source, where = place.bound_socket(destination)
        try:
            exemption: dict[str, int | bytes] = {
                "client": packed(source.address),
                "server": packed(destination.address),
                "client_port": source.port,
                "server_port": destination.port,
                "netns": place.cookie,
            }
            owner = {"socket": socket_cookie(sock), "pid": os.getpid()}
            self._upstreams.set(exemption, owner)
            self._admitted[sock.fileno()] = exemption
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(self._limits.connect_timeout):
                await loop.sock_connect(sock, where)
        except BaseException:
            self.release(sock)
            sock.close()
            raise
        return sock

    def release(self, sock: socket.socket) -> None:
        """Ends the exemption of a socket that ``connect`` returned; call it before closing."""
        exemption = self._admitted.pop(sock.fileno(), None)
        if exemption is not None:
            self._upstreams.delete(exemption)

    def client_of(self, flow: Mapping[str, int | bytes], client: Endpoint, otherwise: Peer) -> Peer:
        """Who the kernel recorded for a connection; ``otherwise`` where it recorded nobody.

        The same rule as in bpf/steer.c: a task in a namespace that is not covered is whom its
        address names, unless that is an address of a covered one.
        """
        number = self._flows.number(flow)
        if number == IDENTITY_STRANGER and self._is_local(client):
            return World(client.address)
        return self._by_number.get(number, otherwise) if number else otherwise

    def _is_local(self, endpoint: Endpoint) -> bool:
        state = self._state.get(0) or {}
        found = self._identities.get(
            {
                "prefixlen": EPOCH_BITS + ADDRESS_BITS,
                "epoch": state.get("epoch", 0),
                "address": packed(endpoint.address),
            }
        )
        return found is not None and bool(found["flags"] & FLAG_LOCAL)

    def by_number(self, number: int) -> Peer | None:
        return self._by_number.get(number)

    def by_address(self, endpoint: Endpoint) -> Peer:
        return self._directory.identify(endpoint.address)

    def origin_of(self, flow: Mapping[str, int | bytes]) -> Endpoint | None:
        """Where a steered egress connection was going."""
        found = self._origins.get(flow)
        if found is None:
            return None
        return Endpoint(unpacked(found["address"]), found["port"])

    def listener_at(self, endpoint: Endpoint, cookie: int, resident: int) -> Peer:
        """Which workload listens there, in a namespace whose own is ``resident``, if it has one."""
        return self._by_number.get(self._recorded.identity_at(endpoint, cookie, resident), HOST)

    def _forget_the_dead(self) -> None:
        """Ends the exemptions of workers that were killed."""
        for key in list(self._upstreams.keys()):
            raw = libbpf.map_lookup(self._upstreams.fd, key, self._upstreams.value.size)
            if raw and not Path(f"/proc/{self._upstreams.value.unpack(raw)['pid']}").exists():
                libbpf.map_delete(self._upstreams.fd, key)

    def _namespace(self, name: str | None) -> _Namespace:
        key = name or ""
        known = self._namespaces.get(key)
        if known is None or not known.is_current():
            if known is not None:
                known.close()
            known = self._namespaces[key] = _Namespace(name)
        return known


class _Resolver:
    """For the listeners of one namespace."""

    def __init__(
        self, adapter: Adapter, name: str | None, cookie: int, identity: int, proxy_port: int
    ) -> None:
        self._adapter = adapter
        self._name = name
        self._cookie = cookie
        self._identity = identity
        self._proxy_port = proxy_port

    def resolve(self, sock: socket.socket) -> Downstream | None:
        """None for a connection made to the proxy's own port by whatever means."""
        try:
            client, server = _endpoint(sock.getpeername()), _endpoint(sock.getsockname())
        except OSError:
            return None
        inside = stays_inside(client.address, server.address)
        flow: dict[str, int | bytes] = {
            "client": packed(client.address),
            "server": packed(server.address),
            "client_port": client.port,
            "server_port": server.port,
            "netns": self._cookie if inside else 0,
        }
        resident = self._adapter.by_number(self._identity) if self._identity else HOST
        if resident is None:
            return None  # the workload is gone from the snapshot
        somebody = resident if inside else self._adapter.by_address(client)
        who = self._adapter.client_of(flow, client, somebody)
        if server.port == self._proxy_port and server.address.is_loopback:
            origin = self._adapter.origin_of(flow)
            if origin is None:
                return None
            peer = self._adapter.by_address(origin)
            return Downstream(who, client, peer, origin, "EGRESS", self._name)
        server_is = self._adapter.listener_at(server, self._cookie, self._identity)
        return Downstream(who, client, server_is, server, "INGRESS", self._name)


class _Namespace:
    """A namespace to connect from."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._descriptor = netns.open_named(name) if name else None

    @cached_property
    def cookie(self) -> int:
        return netns.cookie(self._descriptor)

    def is_current(self) -> bool:
        """Whether the name still stands for the namespace that was opened."""
        if self._name is None or self._descriptor is None:
            return True
        try:
            return (netns.RUN_NETNS / self._name).stat().st_ino == os.fstat(self._descriptor).st_ino
        except OSError:
            return False

    def bound_socket(self, destination: Endpoint) -> tuple[socket.socket, Endpoint, SocketAddress]:
        """A socket of this namespace, bound to the address that the route to the destination
        uses and to a port of its own; and the address to connect to, as sockets want it."""
        family = socket.AF_INET6 if destination.address.version == 6 else socket.AF_INET
        with netns.entered(self._descriptor):
            scope = netns.scope_of(destination.address)
            where = socket_address(destination, scope)
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(where)
                source = Endpoint(plain(probe.getsockname()[0]), 0)
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                sock.bind(socket_address(source, scope))
            except OSError:
                sock.close()
                raise
            return sock, Endpoint(source.address, sock.getsockname()[1]), where

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def socket_address(endpoint: Endpoint, scope: int) -> SocketAddress:
    """As ``socket`` takes it, with the interface that a link-local address needs."""
    if endpoint.address.version == 6:
        return str(endpoint.address), endpoint.port, 0, scope
    return str(endpoint.address), endpoint.port


def socket_cookie(sock: socket.socket) -> int:
    """The number by which the kernel knows the socket; no other ever has it."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), sys.byteorder)


def _endpoint(name: tuple[Any, ...]) -> Endpoint:
    return Endpoint(plain(name[0]), name[1])
