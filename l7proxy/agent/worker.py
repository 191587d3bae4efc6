"""One worker process, and the conversation with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Hashable
from pathlib import Path

import l7proxy
from l7proxy.agent.lines import LineReader
from l7proxy.datapath.port import Listener
from l7proxy.proxy.control import (
    Applied,
    Channel,
    Configure,
    Drain,
    Drained,
    Fault,
    Listen,
    Listening,
    Message,
    Ready,
    Snapshot,
    Unlisten,
)

_READY = "ready"


class WorkerDied(Exception):
    """The worker ended before it answered."""


class Worker:
    """A process that runs until it is told to drain, or dies.

    ``say`` takes its troubles, ``flows`` the lines of its flow records.
    """

    def __init__(
        self, slot: int, say: Callable[[str], None], flows: Callable[[list[bytes]], None]
    ) -> None:
        self.slot = slot
        self.aborted = 0
        self._say = say
        self._flows = flows
        self._reader: LineReader | None = None
        self._answers: dict[Hashable, asyncio.Future[None]] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._ready = self._draining = False
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def ready(self) -> bool:
        """It has been configured, and answers."""
        return self._ready

    async def spawn(self) -> None:
        """Start the process, which waits to be configured. Raises OSError."""
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", "l7proxy.proxy.worker",
                    "--control-fd", str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=_environment(),
                    # Ctrl-C in a terminal is the agent's to handle: the workers drain then.
                    process_group=0,
                )  # fmt: skip
            except BaseException:
                ours.close()
                raise
        self._channel = Channel(ours, loop, self._on_message, self._on_closed)

    async def configure(self, configure: Configure) -> None:
        """Wait until it is ready. Raises WorkerDied, OSError."""
        assert self._channel is not None
        self._reader, pipe = LineReader.open(self._flows)
        self._channel.send(configure, [pipe])
        os.close(pipe)
        await self._answer(_READY)
        self._ready = True

    async def apply(self, snapshot: Snapshot) -> None:
        """Send a snapshot and wait until it decides. Raises WorkerDied."""
        self._send(snapshot)
        await self._answer(("applied", snapshot.revision))

    async def listen(self, listener: Listener) -> None:
        """Hand a listening socket over and wait until it accepts. Raises WorkerDied."""
        if self._sockets.get(listener.key) is not listener.sock:
            self._sockets[listener.key] = listener.sock
            self._send(Listen(listener.key, listener.spec), [listener.sock.fileno()])
            await self._answer(("listening", listener.key))

    def unlisten_except(self, keys: set[str]) -> None:
        """Take every listening socket back that is not of ``keys``."""
        for key in self._sockets.keys() - keys:
            del self._sockets[key]
            self._send(Unlisten(key))

    def drain(self) -> None:
        """Ask it to finish what it does and exit; one that is not ready has nothing to finish."""
        if self._ready:
            self._draining = True
            self._send(Drain())
        else:
            self.kill()

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            # Not ``Process.kill``: it may reap the process, and then its exit code is lost.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Wait until the process has ended; its exit code, negative for a signal."""
        assert self._process is not None
        code = await self._process.wait()
        self._close()
        if self._reader is not None:
            self._reader.close()
        return code

    def _send(self, message: Message, descriptors: list[int] | None = None) -> None:
        if self._channel is not None:
            self._channel.send(message, descriptors or [])

    async def _answer(self, question: Hashable) -> None:
        if self._channel is None:
            raise WorkerDied
        answer = self._answers.setdefault(question, asyncio.get_running_loop().create_future())
        try:
            await answer
        finally:
            self._answers.pop(question, None)

    def _on_message(self, message: Message, descriptors: list[int]) -> None:
        for fd in descriptors:
            os.close(fd)
        match message:
            case Ready():
                self._resolve(_READY)
            case Applied(revision):
                self._resolve(("applied", revision))
            case Listening(key, error):
                if error is not None:
                    self._sockets.pop(key, None)
                    self._say(f"listener {key}: {error}")
                self._resolve(("listening", key))
            case Fault(text):
                self._say(text)
            case Drained(aborted):
                self.aborted = aborted

    def _resolve(self, question: Hashable) -> None:
        answer = self._answers.get(question)
        if answer is not None and not answer.done():
            answer.set_result(None)

    def _on_closed(self) -> None:
        self._close()
        if not self._draining:
            # One that cannot be told anything any more must not go on by an old policy.
            self.kill()

    def _close(self) -> None:
        self._ready = False
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(WorkerDied())


def _environment() -> dict[str, str]:
    """Ours, with this very package on the path: the working directory is not (``-P``)."""
    package = str(Path(l7proxy.__file__).resolve().parent.parent)
    others = os.environ.get("PYTHONPATH")
    path = f"{package}{os.pathsep}{others}" if others else package
    return {**os.environ, "PYTHONPATH": path}
