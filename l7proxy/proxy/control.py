"""What the agent and its worker processes say to each other, and how it travels.

Both ends hold one half of a Unix stream socket pair. A message is a header (length, number of
file descriptors) and a pickled dataclass; descriptors ride along as SCM_RIGHTS. Pickle is fit
here because the pair is private to a parent and the child it started.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import struct
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from l7proxy.limits import Limits
from l7proxy.observe.recorder import RecorderSettings
from l7proxy.policy.model import PolicySet
from l7proxy.workloads.model import Workload

_HEADER = struct.Struct("!IB")
_READ_BYTES = 65536
_ANCILLARY_BYTES = socket.CMSG_SPACE(64 * array("i").itemsize)


@dataclass(frozen=True, slots=True)
class Configure:
    """To a worker, first of all. ``adapter`` is ``userspace`` or ``transparent``; its options
    are passed on unread. With a descriptor: the pipe on which flow records go to the agent."""

    recorder: RecorderSettings
    limits: Limits = field(default_factory=Limits)
    adapter: str = "userspace"
    adapter_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """To a worker: decide every request whose head completes from now on by this."""

    policies: PolicySet
    workloads: tuple[Workload, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Listen:
    """To a worker, with one descriptor: accept connections on this listening socket."""

    key: str
    spec: object


@dataclass(frozen=True, slots=True)
class Unlisten:
    """To a worker: stop accepting there; open connections go on."""

    key: str


@dataclass(frozen=True, slots=True)
class Drain:
    """To a worker: stop accepting, finish what is in progress, exit."""


@dataclass(frozen=True, slots=True)
class Ready:
    """From a worker: it is configured and its event loop runs."""

    pid: int


@dataclass(frozen=True, slots=True)
class Applied:
    """From a worker: the snapshot of this revision decides now."""

    revision: int


@dataclass(frozen=True, slots=True)
class Listening:
    """From a worker: the listener accepts, or says in ``error`` why it cannot."""

    key: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """From a worker: one line about trouble that is not an answer to a message."""

    message: str


@dataclass(frozen=True, slots=True)
class Drained:
    """From a worker, last of all; ``aborted`` connections did not finish in time."""

    aborted: int = 0


Message = (
    Configure | Snapshot | Listen | Unlisten | Drain | Ready | Applied | Listening | Fault | Drained
)


class Channel:
    """One end of the pair, on a running event loop.

    ``on_message(message, descriptors)`` is called in order and owns the descriptors;
    ``on_closed()`` once, when the other end is gone or sent what is no message.
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        on_message: Callable[[Message, list[int]], None],
        on_closed: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = loop
        self._on_message = on_message
        self._on_closed = on_closed
        self._incoming = bytearray()
        self._descriptors: deque[int] = deque()
        self._outgoing: deque[tuple[memoryview, list[int]]] = deque()
        self._closed = False
        loop.add_reader(sock.fileno(), self._readable)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Queues a message; never blocks. Descriptors are duplicated: the caller keeps its own.

        After the other end is gone this does nothing.
        """
        if self._closed:
            return
        payload = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        data = _HEADER.pack(len(payload), len(descriptors)) + payload
        self._outgoing.append((memoryview(data), [os.dup(each) for each in descriptors]))
        if len(self._outgoing) == 1:
            self._writable()

    @property
    def pending(self) -> int:
        """Messages that are queued and not yet handed to the kernel."""
        return len(self._outgoing)

    def close(self) -> None:
        """Gives up the socket and every descriptor nobody took."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for _, queued in self._outgoing:
            self._descriptors.extend(queued)
        self._outgoing.clear()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _writable(self) -> None:
        try:
            while self._outgoing:
                data, descriptors = self._outgoing[0]
                sent = socket.send_fds(self._sock, [data], descriptors)
                for each in descriptors:
                    os.close(each)
                if sent < len(data):
                    self._outgoing[0] = (data[sent:], [])
                else:
                    self._outgoing.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._sock.fileno(), self._writable)
            return
        except OSError:
            self._lost()
            return
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            # Not recv_fds: it loses the flag, and children would inherit the descriptors.
            data, ancillary, _, _ = self._sock.recvmsg(
                _READ_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for _, kind, block in ancillary:
            if kind == socket.SCM_RIGHTS:
                descriptors = array("i")
                descriptors.frombytes(block[: len(block) - len(block) % descriptors.itemsize])
                self._descriptors.extend(descriptors)
        if not data:
            self._lost()
            return
        self._incoming += data
        while not self._closed and len(self._incoming) >= _HEADER.size:
            length, count = _HEADER.unpack_from(self._incoming)
            end = _HEADER.size + length
            if len(self._incoming) < end:
                return
            payload = bytes(self._incoming[_HEADER.size : end])
            del self._incoming[:end]
            taken = [self._descriptors.popleft() for _ in range(count)]
            self._on_message(pickle.loads(payload), taken)  # noqa: S301 - from our own parent

    def _lost(self) -> None:
        if not self._closed:
            self.close()
            self._on_closed()
