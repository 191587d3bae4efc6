"""A proxy on real sockets inside the test's own event loop, with a backend that tells what it saw.

``proxied`` builds the same objects as a worker does; what needs a process of its own is in
``test_worker``. The raw client and backend speak bytes, so that a test sees what was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from l7proxy.limits import Limits
from l7proxy.observe.flows import RequestRecord
from l7proxy.policy.documents import load_paths
from l7proxy.policy.model import PolicySet
from l7proxy.policy.verdict import Road
from l7proxy.proxy.decisions import PolicySnapshot
from l7proxy.proxy.downstream import ClientConnection
from l7proxy.proxy.ports import Endpoint
from l7proxy.proxy.state import WorkerState
from l7proxy.proxy.userspace import Adapter, ListenSpec
from l7proxy.proxy.worker import accept
from l7proxy.reasons import Reason
from l7proxy.workloads.model import Workload

T = TypeVar("T")
LOCAL = ip_address("127.0.0.1")
HANG = 20.0  # seconds after which a test that waits has failed

USERS = Workload("default", "users", {"app": "users"}, (ip_address("127.1.0.1"),))

ALLOW_ALL = "{}"
POLICY = """
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {{name: users}}
spec:
  endpointSelector: {{matchLabels: {{app: users}}}}
  ingress:
  - fromEntities: [all]
    toPorts:
    - ports: [{{port: "{port}"}}]
      rules:
        http: [{rules}]
"""


def run(test: Coroutine[Any, Any, T]) -> T:
    """Runs a test on uvloop, and fails it when it hangs."""

    async def bounded() -> T:
        async with asyncio.timeout(HANG):
            return await test

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    """Lets the loop turn until ``condition`` holds."""
    while not condition():  # noqa: ASYNC110 - the conditions are about code under test
        await asyncio.sleep(0.002)


def policies(folder: Path, rules: str, port: int) -> PolicySet:
    """The http rules of the workload ``users`` as a policy set."""
    path = folder / "policy.yaml"
    path.write_text(POLICY.format(rules=rules, port=port))
    return load_paths([path])


@dataclass
class Witness:
    """An observer that keeps everything."""

    records: list[RequestRecord] = field(default_factory=list)
    connections: list[tuple[Road, Reason]] = field(default_factory=list)
    connects: int = 0
    failures: list[Reason] = field(default_factory=list)
    in_progress: int = 0
    open: int = 0

    def record(self, record: RequestRecord) -> None:
        self.records.append(record)

    def connection(self, direction: str, road: Road, reason: Reason) -> None:
        self.connections.append((road, reason))
        self.open += road is not Road.REFUSED

    def connection_closed(self) -> None:
        self.open -= 1

    def exchange_started(self) -> None:
        self.in_progress += 1

    def exchange_ended(self) -> None:
        self.in_progress -= 1

    def upstream_connected(self) -> None:
        self.connects += 1

    def upstream_failed(self, reason: Reason) -> None:
        self.failures.append(reason)

    @property
    def reasons(self) -> list[Reason]:
        return [record.reason for record in self.records]


class Peer:
    """One end of a connection, reading and writing bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.seen = b""

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def head(self) -> bytes:
        data = await self.reader.readuntil(b"\r\n\r\n")
        self.seen += data
        return data

    async def exactly(self, size: int) -> bytes:
        data = await self.reader.readexactly(size)
        self.seen += data
        return data

    async def line(self) -> bytes:
        data = await self.reader.readuntil(b"\r\n")
        self.seen += data
        return data

    async def rest(self) -> bytes:
        data = await self.reader.read()
        self.seen += data
        return data

    async def chunked(self) -> tuple[bytes, bytes]:
        """The content and the trailer section of chunked content."""
        content = b""
        while size := int(await self.line(), 16):
            content += (await self.exactly(size + 2))[:-2]
        trailers = b""
        while (line := await self.line()) != b"\r\n":
            trailers += line
        return content, trailers

    def eof(self) -> None:
        self.writer.write_eof()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Answer:
    """A response as the client read it."""

    status: int
    head: bytes
    content: bytes = b""
    trailers: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        return header(self.head, name)


def header(head: bytes, name: bytes) -> bytes | None:
    """The value of the one field ``name`` in a head; fails if it is repeated."""
    found = [
        line.partition(b":")[2].strip()
        for line in head.split(b"\r\n")[1:]
        if line.partition(b":")[0].lower() == name.lower()
    ]
    assert len(found) <= 1, f"{name!r} is repeated"
    return found[0] if found else None


class Client(Peer):
    """A raw HTTP client."""

    async def answer(self, method: bytes = b"GET") -> Answer:
        """The next response, by its own framing."""
        head = await self.head()
        answer = Answer(int(head.split(b" ", 2)[1]), head)
        length = answer.header(b"content-length")
        if method == b"HEAD" or answer.status < 200 or answer.status in (204, 304):
            return answer
        if answer.header(b"transfer-encoding") == b"chunked":
            answer.content, answer.trailers = await self.chunked()
        elif length is not None:
            answer.content = await self.exactly(int(length))
        else:
            answer.content = await self.rest()
        return answer

    async def get(self, path: bytes = b"/", extra: bytes = b"") -> Answer:
        await self.send(b"GET " + path + b" HTTP/1.1\r\nHost: users\r\n" + extra + b"\r\n")
        return await self.answer()

    async def closed(self) -> bytes:
        """What comes until the end of file."""
        return await self.rest()


Handler = Callable[[Peer], Awaitable[None]]


class Backend:
    """A server whose connections are handled by a test's own coroutine."""

    def __init__(self, handler: Handler, address: str = "127.0.0.1", port: int = 0) -> None:
        self._handler = handler
        self.ip = ip_address(address)
        self.connections: list[Peer] = []
        self.faults: list[BaseException] = []
        self._server: asyncio.Server | None = None
        self.port = port

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, str(self.ip), self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for peer in self.connections:
            await peer.close()
        await self._server.wait_closed()

    @property
    def seen(self) -> bytes:
        """Every byte that any connection received and its handler read."""
        return b"".join(peer.seen for peer in self.connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.connections.append(peer)
        try:
            await self._handler(peer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the other side left, as some tests want
        except Exception as fault:
            if not writer.is_closing():
                self.faults.append(fault)
        finally:
            await peer.close()


@contextlib.asynccontextmanager
async def serving(handler: Handler, address: str, port: int = 0) -> AsyncIterator[Backend]:
    """A backend of its own, besides the one that ``proxied`` makes."""
    backend = Backend(handler, address, port)
    await backend.start()
    try:
        yield backend
    finally:
        await backend.stop()


async def hello(peer: Peer) -> None:
    """Answers every request without content by its path."""
    while True:
        head = await peer.head()
        path = head.split(b" ")[1]
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))


class Proxy:
    """The proxy under test, and the ways to look into it."""

    def __init__(self, state: WorkerState, witness: Witness, backend: Backend, port: int) -> None:
        self.state = state
        self.witness = witness
        self.backend = backend
        self.port = port
        self.clients: list[Client] = []

    async def client(self, **options: Any) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, **options))
        self.clients.append(client)
        return client

    async def serving(self) -> ClientConnection:
        """The proxy's side of the one client connection, once it serves a request."""
        await until(lambda: any(not each.idle for each in self.state.clients))
        (connection,) = self.state.clients
        assert isinstance(connection, ClientConnection)
        return connection

    def apply(self, policy_set: PolicySet, workloads: tuple[Workload, ...] = (USERS,)) -> None:
        revision = 1 if self.state.snapshot is None else self.state.snapshot.revision + 1
        self.state.apply(PolicySnapshot(policy_set, workloads, revision))

    async def recorded(self, count: int = 1) -> list[RequestRecord]:
        """The records, once there are ``count`` of them."""
        await until(lambda: len(self.witness.records) >= count)
        return self.witness.records


@contextlib.asynccontextmanager
async def proxied(
    folder: Path,
    handler: Handler = hello,
    rules: str = ALLOW_ALL,
    limits: Limits | None = None,
    ready: bool = True,
    adapter: type[Adapter] = Adapter,
) -> AsyncIterator[Proxy]:
    """A backend run by ``handler``, and a proxy in front of it that allows what ``rules`` say."""
    backend = Backend(handler)
    await backend.start()
    witness = Witness()
    limits = limits or Limits()
    surroundings = adapter({}, limits)
    state = WorkerState(limits, surroundings, witness)
    state.timers.start(asyncio.get_running_loop())
    resolver = surroundings.resolver(ListenSpec(Endpoint(LOCAL, backend.port), "users"))
    listener = socket.create_server(("127.0.0.1", 0))
    server = await accept(listener, state, resolver)
    proxy = Proxy(state, witness, backend, listener.getsockname()[1])
    try:
        if ready:
            proxy.apply(policies(folder, rules, backend.port))
        yield proxy
        assert backend.faults == [], backend.faults
    finally:
        server.close()
        for client in proxy.clients:
            await client.close()
        for each in tuple(state.clients):
            each.reset()
        state.pool.close()
        state.timers.stop()
        await until(lambda: not state.clients)
        await backend.stop()
        await server.wait_closed()
