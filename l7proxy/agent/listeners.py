"""Userspace mode: explicit listeners in front of backends, no privileges, no kernel's help."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from l7proxy.agent.errors import AgentError
from l7proxy.config import Listener as ListenerConfig
from l7proxy.datapath.port import Listener
from l7proxy.file_errors import reason
from l7proxy.observe.flows import RequestRecord
from l7proxy.observe.tally import Tally
from l7proxy.policy.model import PolicySet
from l7proxy.proxy.ports import Endpoint
from l7proxy.proxy.userspace import ListenSpec
from l7proxy.workloads.model import Workload

_BACKLOG = 4096


class UserspaceDatapath:
    """The listeners of the configuration, one socket a worker for each."""

    def __init__(self, listen: Sequence[ListenerConfig], workers: int) -> None:
        """Opens the sockets. Raises AgentError if an address cannot be had."""
        self._listeners: list[Listener] = []
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            for number, each in enumerate(listen):
                for worker, sock in enumerate(_sockets(each.address, workers)):
                    spec = ListenSpec(each.to, each.workload)
                    key = f"listen-{number}.{worker}"
                    self._listeners.append(Listener(key, worker, sock, spec))
            undo.pop_all()

    def apply(self, policies: PolicySet, workloads: Sequence[Workload], revision: int) -> None:
        """Nothing: the workers decide everything."""

    def tend(self) -> None:
        """Nothing."""

    def listeners(self) -> Sequence[Listener]:
        return self._listeners

    @property
    def no_room(self) -> frozenset[str]:
        return frozenset()

    def adapter_options(self) -> Mapping[str, Any]:
        return {}

    def status(self) -> Mapping[str, Any]:
        return {}

    def counters(self) -> Mapping[str, int]:
        return {}

    def records(self, most: int) -> Sequence[RequestRecord]:
        return ()

    def tally(self) -> Tally:
        return Tally()

    def close(self) -> None:
        """Give the addresses up; workers that accept on them keep theirs."""
        for listener in self._listeners:
            listener.sock.close()
        self._listeners = []


def _sockets(endpoint: Endpoint, count: int) -> Iterator[socket.socket]:
    """``count`` listening sockets that share one address. Raises AgentError."""
    family = socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET
    address = (str(endpoint.address), endpoint.port)
    # Every socket that shares has SO_REUSEPORT, another agent's too: a plain one finds out first.
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, address)
        address = probe.getsockname()[:2]
    for _ in range(count):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _bind(sock, address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
        yield sock


def _bind(sock: socket.socket, address: tuple[str, int]) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise AgentError(
            f"proxy.listen: {address[0]} port {address[1]}: {reason(error)}; choose another address"
        ) from None
