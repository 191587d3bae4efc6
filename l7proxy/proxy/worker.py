"""A proxy worker process: ``python -m l7proxy.proxy.worker --control-fd N``.

It gets everything over its control channel (``l7proxy.proxy.control``) and has no life without
it: when the agent is gone, so is the worker, at once, and its clients see resets.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import importlib
import os
import signal
import socket
import struct
import sys
from typing import Any

import uvloop

from l7proxy.observe.recorder import Recorder, open_recorder
from l7proxy.proxy import control
from l7proxy.proxy.decisions import PolicySnapshot
from l7proxy.proxy.downstream import ClientConnection
from l7proxy.proxy.ports import Adapter, Resolver
from l7proxy.proxy.state import WorkerState, log, report_fault

_ADAPTERS = {
    "userspace": "l7proxy.proxy.userspace",
    "transparent": "l7proxy.datapath.transparent",
}
_PR_SET_PDEATHSIG = 1
_LINGER_RESET = struct.pack("ii", 1, 0)
_BACKLOG = 4096


class Worker:
    """Obeys the control channel until it is drained."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._channel: control.Channel | None = None
        self._state: WorkerState | None = None
        self._recorder: Recorder | None = None
        self._servers: dict[str, asyncio.Server] = {}
        self._work: asyncio.Queue[tuple[control.Message, list[int]] | None] = asyncio.Queue()
        self._draining = asyncio.Event()

    async def run(self, sock: socket.socket) -> None:
        """Serves until drained; returns when every connection has ended or been given up."""
        self._channel = control.Channel(
            sock, self._loop, lambda *message: self._work.put_nowait(message), self._orphaned
        )
        self._loop.add_signal_handler(signal.SIGTERM, self._drain)
        # The agent decides about Ctrl-C; the terminal sends it to the whole group.
        self._loop.add_signal_handler(signal.SIGINT, lambda: None)
        while (item := await self._work.get()) is not None:
            try:
                await self._obey(*item)
            except Exception as error:
                # What was in force stays in force.
                report_fault("control message", error)
                self._say(control.Fault(f"{type(item[0]).__name__}: {error}"))
        aborted = await self._finish()
        self._channel.send(control.Drained(aborted))
        if self._recorder is not None:
            self._recorder.close()
        self._channel.close()

    async def _obey(self, message: control.Message, descriptors: list[int]) -> None:
        match message:
            case control.Configure():
                self._configure(message, descriptors)
                self._say(control.Ready(os.getpid()))
            case control.Snapshot():
                snapshot = PolicySnapshot(message.policies, message.workloads, message.revision)
                self._configured.apply(snapshot)
                self._say(control.Applied(message.revision))
            case control.Listen():
                self._say(await self._listen(message, descriptors))
            case control.Unlisten():
                self._unlisten(message.key)
            case control.Drain():
                self._drain()
            case _:
                self._say(control.Fault(f"{type(message).__name__} is no order for a worker"))

    @property
    def _configured(self) -> WorkerState:
        if self._state is None:
            raise RuntimeError("a worker must be configured first")
        return self._state

    def _configure(self, message: control.Configure, descriptors: list[int]) -> None:
        adapter = load_adapter(message)
        self._recorder = open_recorder(message.recorder, next(iter(descriptors), None))
        self._state = WorkerState(message.limits, adapter, self._recorder)
        self._state.timers.start(self._loop)

    async def _listen(self, message: control.Listen, descriptors: list[int]) -> control.Listening:
        sock = socket.socket(fileno=descriptors[0])
        try:
            state = self._configured
            server = await accept(sock, state, state.adapter.resolver(message.spec))
        except (OSError, TypeError, ValueError) as error:
            sock.close()
            return control.Listening(message.key, str(error))
        self._unlisten(message.key)
        self._servers[message.key] = server
        return control.Listening(message.key)

    def _unlisten(self, key: str) -> None:
        server = self._servers.pop(key, None)
        if server is not None:
            server.close()

    def _drain(self) -> None:
        if not self._draining.is_set():
            self._draining.set()
            self._work.put_nowait(None)

    async def _finish(self) -> int:
        """Lets exchanges end; answers how many connections had to be aborted."""
        for key in tuple(self._servers):
            self._unlisten(key)
        state = self._state
        if state is None:
            return 0
        state.draining = True
        for client in tuple(state.clients):
            if client.idle:
                client.close()
        aborted = 0
        if state.clients:
            empty = asyncio.Event()
            state.on_empty = empty.set
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(state.limits.drain_timeout):
                    await empty.wait()
            aborted = len(state.clients)
            for client in tuple(state.clients):
                client.reset()
            await empty.wait()
        state.pool.close()
        state.timers.stop()
        return aborted

    def _say(self, message: control.Message) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def _orphaned(self) -> None:
        os._exit(1)


async def accept(sock: socket.socket, state: WorkerState, resolver: Resolver) -> asyncio.Server:
    """Accepts clients on a listening socket. Raises OSError."""
    # Accepted sockets inherit it: closed at once, or by the death of this process, they reset
    # their client instead of feigning the end of a response.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    return await asyncio.get_running_loop().create_server(
        lambda: ClientConnection(state, resolver), sock=sock, backlog=_BACKLOG
    )


def load_adapter(message: control.Configure) -> Adapter:
    """The adapter that a configuration names. Raises ValueError for an unknown name."""
    module = _ADAPTERS.get(message.adapter)
    if module is None:
        raise ValueError(f"no adapter {message.adapter!r}; there are {', '.join(_ADAPTERS)}")
    adapter: Adapter = importlib.import_module(module).Adapter(
        message.adapter_options, message.limits
    )
    return adapter


def die_with_parent() -> None:
    """Asks the kernel to kill this process when the one that started it dies."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, BaseException):
        report_fault("event loop", error)
    else:
        log.error("event loop: %s", context["message"])


def main() -> None:
    """The process: argument, event loop, exit status."""
    parser = argparse.ArgumentParser(prog="l7proxy.proxy.worker")
    parser.add_argument("--control-fd", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent()
    sock = socket.socket(fileno=arguments.control_fd)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_report)
        await Worker(loop).run(sock)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())
    except Exception as error:
        report_fault("worker", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
