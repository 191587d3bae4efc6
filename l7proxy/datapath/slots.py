"""Covered network namespaces: the slot of each, the program attached to it, its listeners.

A slot is a number that one copy of the steering program carries. It is kept in pinned maps, so a
restarted agent finds the namespaces in the slots where they were.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

from l7proxy.datapath import libbpf, netns
from l7proxy.datapath.names import FLAG_NO_SPLICE, MAX_WORKERS, NO_SLOT
from l7proxy.datapath.port import DatapathError
from l7proxy.datapath.store import Store

_BACKLOG = 4096
_SK_LOOKUP = 36
_PORT_TRIES = 16


@dataclass
class Namespace:
    """One covered namespace. ``name`` None is the agent's own, which workloads may share."""

    name: str | None
    descriptor: int | None
    cookie: int
    identity: int = 0
    short_circuit: bool = True
    slot: int = -1
    proxy_port: int = 0
    listeners: dict[tuple[int, int], socket.socket] = field(default_factory=dict)
    """By (worker, 1 for IPv6)."""

    def close(self) -> None:
        for sock in self.listeners.values():
            sock.close()
        self.listeners.clear()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class Slots:
    """Which namespace is in which slot, in step with the pinned maps."""

    def __init__(self, store: Store, workers: int, limit: int) -> None:
        self._store = store
        self._workers = min(workers, MAX_WORKERS)
        self._limit = limit
        self._namespaces: dict[int, Namespace] = {}

    def __iter__(self) -> Iterator[Namespace]:
        return iter(self._namespaces.values())

    def number_of(self, cookie: int) -> int:
        """The slot of a namespace; NO_SLOT if it is not covered."""
        found = self._namespaces.get(cookie)
        return found.slot if found else NO_SLOT

    def cover(self, wanted: list[Namespace]) -> None:
        """Makes listeners and slots for namespaces that are new. Raises DatapathError.

        Takes the wanted namespaces over, and closes those that were covered already.
        """
        for each in wanted:
            known = self._namespaces.get(each.cookie)
            if known is not None:
                known.identity, known.short_circuit = each.identity, each.short_circuit
                known.name = each.name
                each.close()
            else:
                self._add(each)
                known = each
            self._write(known)
            self._offer(known)

    def attach(self) -> None:
        """Attaches the steering program to every covered namespace that has none yet."""
        for each in self:
            name = f"netns_{each.slot}"
            if self._store.is_attached(name):
                continue
            target = each.descriptor if each.descriptor is not None else netns.own()
            try:
                self._store.attach(name, f"on_sk_lookup_{each.slot}", target, _SK_LOOKUP)
            except OSError as error:
                where = each.name or "the agent's own"
                raise DatapathError(
                    f"cannot steer connections into namespace {where}: {error}"
                ) from None
            finally:
                if target != each.descriptor:
                    os.close(target)

    def release(self, cookies: set[int]) -> None:
        """Detaches every namespace whose cookie is not in ``cookies``, from earlier agents too."""
        table = self._store.table("netns")
        for key in list(table.keys()):
            cookie = int.from_bytes(key, "little")
            if cookie in cookies:
                continue
            slot = table.number(cookie)
            self._store.detach(f"netns_{slot}")
            table.delete(cookie)
            if slot is not None:
                self._store.table("namespaces").set(slot, {})
            gone = self._namespaces.pop(cookie, None)
            if gone is not None:
                gone.close()

    def close(self) -> None:
        """Closes the listeners; the pinned programs then refuse what needs the proxy."""
        for each in self:
            each.close()
        self._namespaces.clear()

    def _add(self, each: Namespace) -> None:
        table = self._store.table("netns")
        slot = table.number(each.cookie)
        if slot is None:
            taken = {table.number(int.from_bytes(key, "little")) for key in list(table.keys())}
            slot = next((n for n in range(self._limit) if n not in taken), None)
            if slot is None:
                raise DatapathError(
                    f"more than {self._limit} network namespaces: raise limits.namespaces"
                )
            # A link left in a free slot belongs to a namespace that is gone.
            self._store.detach(f"netns_{slot}")
        each.slot = slot
        try:
            self._listen(each)
        except OSError as error:
            where = each.name or "the agent's own"
            raise DatapathError(f"cannot listen in namespace {where}: {error}") from None
        self._namespaces[each.cookie] = each

    def _listen(self, each: Namespace) -> None:
        """The proxy's listeners: on loopback, one port for all workers and both families."""
        with netns.entered(each.descriptor):
            for _ in range(_PORT_TRIES):
                if self._try_port(each):
                    return
        raise OSError(f"no port is free for both IPv4 and IPv6 after {_PORT_TRIES} tries")

    def _try_port(self, each: Namespace) -> bool:
        families = [(0, socket.AF_INET, "127.0.0.1")]
        if netns.has_ip6():
            families.append((1, socket.AF_INET6, "::1"))
        with contextlib.ExitStack() as undo:
            port = 0
            listeners: dict[tuple[int, int], socket.socket] = {}
            for six, family, address in families:
                for worker in range(self._workers):
                    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                    undo.enter_context(sock)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    # Accepted sockets inherit it. They have the server's own port, and must not
                    # keep the server from listening there again.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    try:
                        sock.bind((address, port))
                    except OSError:
                        if port:
                            return False  # taken in the other family: try another
                        raise
                    sock.listen(_BACKLOG)
                    port = int(sock.getsockname()[1])
                    listeners[worker, six] = sock
            each.proxy_port = port
            each.listeners = listeners
            undo.pop_all()
        return True

    def _write(self, each: Namespace) -> None:
        flags = 0 if each.short_circuit else FLAG_NO_SPLICE
        self._store.table("namespaces").set(
            each.slot,
            {
                "cookie": each.cookie,
                "identity": each.identity,
                "proxy_port": each.proxy_port,
                "flags": flags,
            },
        )
        self._store.table("netns").set(each.cookie, each.slot)

    def _offer(self, each: Namespace) -> None:
        """Puts the listeners where the steering program looks for them, marked as the proxy's."""
        offered = libbpf.obj_get(self._store.folder / "proxy_listeners")
        proxied = libbpf.obj_get(self._store.folder / "proxied")
        try:
            for (worker, six), sock in each.listeners.items():
                number = sock.fileno()
                libbpf.map_update(proxied, number.to_bytes(4, "little"), (1).to_bytes(4, "little"))
                index = (each.slot * MAX_WORKERS + worker) * 2 + six
                libbpf.map_update(
                    offered, index.to_bytes(4, "little"), number.to_bytes(8, "little")
                )
        finally:
            os.close(offered)
            os.close(proxied)
