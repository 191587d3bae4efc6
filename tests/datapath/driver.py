"""A datapath in a process of its own, as the agent holds one, told what to do line by line.

Run as ``python -m tests.datapath.driver CONFIG``: each line on standard input is a JSON request
``{"op": ..., ...}``, each line on standard output its answer ``{"ok": ...}`` or ``{"error": ...}``.

It also stands in for the proxy: it accepts what is steered to the listeners and answers with one
line of JSON that says whose connection it takes it for, then closes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import select
import socket
import sys
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from l7proxy import config
from l7proxy.datapath import open_datapath, unload
from l7proxy.datapath.datapath import EbpfDatapath
from l7proxy.datapath.transparent import Adapter
from l7proxy.policy.documents import load_paths
from l7proxy.proxy.ports import Downstream, Endpoint
from l7proxy.workloads.documents import load
from l7proxy.workloads.model import Workload

_LOOK_AGAIN = 0.05
"""Seconds after which a closed listener is noticed."""


_BYTES = ("method", "path", "host", "request_id")
"""What a record has as it was received."""


class Driver:
    """The datapath, the adapter of its one worker, and what was dialled through it."""

    def __init__(self, path: Path) -> None:
        self._config = config.load(path)
        self._config.state.mkdir(parents=True, exist_ok=True)
        self._datapath: EbpfDatapath | None = None
        self._adapter: Adapter | None = None
        self._accepting: set[str] = set()
        self._dialled: dict[int, socket.socket] = {}
        self._loop = asyncio.new_event_loop()

    @property
    def datapath(self) -> EbpfDatapath:
        assert self._datapath is not None, "not open"
        return self._datapath

    def open(self) -> bool:
        """Whether the datapath adopted what it found."""
        self._datapath = open_datapath(self._config)
        return self._datapath.adopted

    def apply(self, revision: int) -> None:
        """Puts the policies and workloads of the configuration's files into force."""
        workloads = self._workloads()
        self.datapath.apply(load_paths([self._config.policies]), workloads, revision)
        if self._adapter is None:
            self._adapter = Adapter(self.datapath.adapter_options(), self._config.limits)
        self._adapter.update(workloads)
        for listener in self.datapath.listeners():
            if listener.key not in self._accepting:
                self._accepting.add(listener.key)
                resolver = self._adapter.resolver(listener.spec)
                arguments = (listener.sock, resolver.resolve)
                threading.Thread(target=_accept, args=arguments, daemon=True).start()

    def counters(self) -> dict[str, int]:
        return dict(self.datapath.counters())

    def status(self) -> dict[str, Any]:
        return dict(self.datapath.status())

    def records(self) -> list[dict[str, Any]]:
        """Of requests that the kernel has decided, since the last call."""
        return [
            dataclasses.asdict(each)
            | {"client": each.client.id, "server": each.server.id, "road": each.road.value}
            | {name: getattr(each, name).decode("latin-1") for name in _BYTES}
            | {"reason": each.reason.value}
            for each in self.datapath.records(1 << 20)
        ]

    def tally(self) -> dict[str, Any]:
        """What the kernel has counted of requests."""
        found = self.datapath.tally()
        outcomes = [[*key, count] for key, count in found.outcomes.items()]
        return found.to_json() | {"outcomes": outcomes}

    def dial(self, host: str, port: int, netns: str | None) -> dict[str, Any]:
        """Connects as a worker does; ``release`` or ``hang_up`` ends it."""
        assert self._adapter is not None
        destination = Endpoint(ip_address(host), port)
        made = self._loop.run_until_complete(self._adapter.connect(destination, netns))
        self._dialled[made.fileno()] = made
        made.setblocking(True)
        return {"number": made.fileno(), "source": made.getsockname()[:2]}

    def release(self, number: int) -> None:
        """Ends the exemption and keeps the connection."""
        assert self._adapter is not None
        self._adapter.release(self._dialled[number])

    def hang_up(self, number: int) -> None:
        self.release(number)
        self._dialled.pop(number).close()

    def unload(self) -> int:
        return unload(self._config)

    def close(self) -> None:
        """Closes the datapath; what is pinned stays."""
        self.datapath.close()
        self._datapath = None

    def _workloads(self) -> list[Workload]:
        return list(load(self._config.workloads).workloads)


def _accept(listener: socket.socket, resolve: Callable[[socket.socket], Downstream | None]) -> None:
    while listener.fileno() >= 0:
        try:
            # A thread that waited in accept() would keep the listener after it is closed.
            if not select.select([listener], [], [], _LOOK_AGAIN)[0]:
                continue
            accepted, _ = listener.accept()
        except (OSError, ValueError):
            continue
        accepted.setblocking(True)
        with accepted:
            seen = resolve(accepted)
            accepted.sendall(json.dumps(seen and _described(seen)).encode() + b"\n")


def _described(seen: Downstream) -> dict[str, Any]:
    return {
        "client": seen.client.id,
        "client_endpoint": [str(seen.client_endpoint.address), seen.client_endpoint.port],
        "server": seen.server.id,
        "destination": [str(seen.destination.address), seen.destination.port],
        "direction": seen.direction,
    }


def main() -> None:
    """Answers until standard input ends."""
    driver = Driver(Path(sys.argv[1]))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": getattr(driver, request.pop("op"))(**request)}
        except Exception as error:  # whatever went wrong belongs to the test that asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main()
