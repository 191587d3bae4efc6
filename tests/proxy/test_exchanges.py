"""Requests and responses of every framing, one after another on one connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from l7proxy.limits import Limits
from l7proxy.observe.flows import FORWARDED
from l7proxy.policy.verdict import Road
from l7proxy.proxy.downstream import ClientConnection
from l7proxy.proxy.ports import Endpoint
from l7proxy.reasons import Reason
from l7proxy.workloads.model import HOST
from tests.proxy.harness import USERS, Peer, Proxy, header, proxied, run, until


def test_requests_share_a_client_and_a_backend_connection(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path) as proxy:
            client = await proxy.client()
            for path in (b"/a", b"/b", b"/c"):
                answer = await client.get(path)
                assert (answer.status, answer.content) == (200, path)
            assert len(proxy.backend.connections) == 1
            assert proxy.witness.connects == 1

    run(test())


def test_backend_connections_are_shared_by_clients(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path) as proxy:
            for _ in range(3):
                client = await proxy.client()
                assert (await client.get()).status == 200
            assert len(proxy.backend.connections) == 1

    run(test())


def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, rules='{path: "/ok.*"}') as proxy:
            client = await proxy.client()
            paths = [b"/ok1", b"/no", b"/ok2", b"/ok3", b"/no"] * 20
            await client.send(b"".join(b"GET %b HTTP/1.1\r\nHost: u\r\n\r\n" % p for p in paths))
            for path in paths:
                answer = await client.answer()
                expected = (200, path) if path != b"/no" else (403, b"Access denied\r\n")
                assert (answer.status, answer.content) == expected

    run(test())


def test_a_pipelined_body_is_not_taken_for_a_request(tmp_path: Path) -> None:
    inner = b"GET /inner HTTP/1.1\r\nHost: u\r\n\r\n"

    async def echo(peer: Peer) -> None:
        while True:
            head = await peer.head()
            content = await peer.exactly(int(header(head, b"content-length") or 0))
            await peer.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content), content
            )

    async def test() -> None:
        async with proxied(tmp_path, echo) as proxy:
            client = await proxy.client()
            post = b"POST / HTTP/1.1\r\nHost: u\r\nContent-Length: %d\r\n\r\n" % len(inner)
            await client.send((post + inner) * 3)
            for _ in range(3):
                assert (await client.answer()).content == inner
            assert [record.method for record in proxy.witness.records] == [b"POST"] * 3

    run(test())


@pytest.mark.parametrize(
    ("method", "response", "content"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (
            b"GET",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"abc",
        ),
    ],
)
def test_every_framing_keeps_both_connections(
    tmp_path: Path, method: bytes, response: bytes, content: bytes
) -> None:
    async def answer(peer: Peer) -> None:
        while True:
            await peer.head()
            for byte in response:
                await peer.send(bytes((byte,)))

    async def test() -> None:
        async with proxied(tmp_path, answer) as proxy:
            client = await proxy.client()
            for _ in range(2):
                await client.send(method + b" / HTTP/1.1\r\nHost: users\r\n\r\n")
                got = await client.answer(method)
                assert got.status == int(response.split(b" ")[1])
                assert got.content == content
                assert got.header(b"content-length") == header(response, b"content-length")
            assert len(proxy.backend.connections) == 1

    run(test())


def test_content_until_close_is_chunked_for_the_client(tmp_path: Path) -> None:
    async def answer(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nuntil ", b"the end")

    async def test() -> None:
        async with proxied(tmp_path, answer) as proxy:
            client = await proxy.client()
            for _ in range(2):
                got = await client.get()
                assert got.content == b"until the end"
                assert got.header(b"transfer-encoding") == b"chunked"
            assert len(proxy.backend.connections) == 2

    run(test())


def test_trailers_pass_in_both_directions(tmp_path: Path) -> None:
    async def answer(peer: Peer) -> None:
        await peer.head()
        assert await peer.chunked() == (b"abcdef", b"X-Sum: 7\r\n")
        await peer.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"4\r\nwxyz\r\n0\r\nX-End: 9\r\n\r\n",
        )

    async def test() -> None:
        async with proxied(tmp_path, answer) as proxy:
            client = await proxy.client()
            await client.send(
                b"POST / HTTP/1.1\r\nHost: u\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"3\r\nabc\r\n",
                b"3;ignored=1\r\nde",
                b"f\r\n0\r\nX-Sum: 7\r\n",
                b"\r\n",
            )
            got = await client.answer()
            assert (got.content, got.trailers) == (b"wxyz", b"X-End: 9\r\n")

    run(test())


def test_interim_responses_pass_except_to_http10(tmp_path: Path) -> None:
    async def answer(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.send(
                b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            )

    async def test() -> None:
        async with proxied(tmp_path, answer) as proxy:
            client = await proxy.client()
            hint = await client.get()
            assert (hint.status, hint.header(b"link")) == (103, b"</a.css>")
            assert (await client.answer()).content == b"ok"
            old = await proxy.client()
            await old.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await old.answer()).status == 200

    run(test())


def test_http10_clients(tmp_path: Path) -> None:
    async def answer(peer: Peer) -> None:
        while True:
            head = await peer.head()
            assert head.split(b"\r\n")[0].endswith(b"HTTP/1.1")
            assert header(head, b"host")
            if b"/chunked" in head:
                await peer.send(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                )
            else:
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def test() -> None:
        async with proxied(tmp_path, answer) as proxy:
            once = await proxy.client()
            await once.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await once.closed()).endswith(b"\r\n\r\nok")
            kept = await proxy.client()
            for _ in range(2):
                await kept.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                got = await kept.answer()
                assert (got.content, got.header(b"connection")) == (b"ok", b"keep-alive")
            await kept.send(b"GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            undone = await kept.closed()
            assert undone.endswith(b"\r\n\r\nabc")
            assert header(undone.partition(b"abc")[0], b"transfer-encoding") is None

    run(test())


def test_connection_close_from_the_client_is_honoured(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path) as proxy:
            client = await proxy.client()
            got = await client.get(b"/x", b"Connection: close\r\n")
            assert (got.content, got.header(b"connection")) == (b"/x", b"close")
            assert await client.closed() == b""
            # The backend's connection is not the client's: it stays.
            assert (await (await proxy.client()).get()).status == 200
            assert len(proxy.backend.connections) == 1

    run(test())


def test_connection_close_from_the_backend_is_its_own(tmp_path: Path) -> None:
    async def answer(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    async def test() -> None:
        async with proxied(tmp_path, answer) as proxy:
            client = await proxy.client()
            for _ in range(3):
                got = await client.get()
                assert (got.content, got.header(b"connection")) == (b"ok", None)
            assert len(proxy.backend.connections) == 3

    run(test())


def test_what_the_backend_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path) as proxy:
            client = await proxy.client()
            await client.get(
                b"/a/../b//c",
                b"X-Forwarded-For: 10.9.8.7\r\nX-Request-Id: mine\r\nConnection: X-Hop\r\n"
                b"X-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nX-Kept: yes\r\n",
            )
            await client.get(b"/two")
            first, second, _ = proxy.backend.seen.split(b"\r\n\r\n")
            assert first.startswith(b"GET /b/c HTTP/1.1\r\n")
            assert header(first, b"x-forwarded-for") == b"10.9.8.7, 127.0.0.1"
            assert header(first, b"x-request-id") == b"mine"
            assert header(first, b"x-kept") == b"yes"
            for gone in (b"x-hop", b"keep-alive", b"te", b"connection"):
                assert header(first, gone) is None
            assert header(second, b"x-forwarded-for") == b"127.0.0.1"
            assert len(header(second, b"x-request-id") or b"") == 36

    run(test())


def test_a_byte_at_a_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path) as proxy:
            client = await proxy.client()
            for byte in b"\r\nGET /slowly HTTP/1.1\r\nHost: users\r\n\r\n":
                await client.send(bytes((byte,)))
            assert (await client.answer()).content == b"/slowly"

    run(test())


def test_the_record_of_a_request(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, rules='{path: "/a.*", name: the-rule}') as proxy:
            client = await proxy.client()
            await client.get(b"/abc?d=e", b"X-Request-Id: id-1\r\n")
            (record,) = await proxy.recorded()
            assert (record.client, record.server, record.road) == (HOST, USERS, Road.PROXY)
            assert record.client_endpoint.port == client.writer.get_extra_info("sockname")[1]
            assert record.destination.port == proxy.backend.port
            assert (record.method, record.path, record.host) == (b"GET", b"/abc?d=e", b"users")
            assert (record.status, record.verdict) == (200, FORWARDED)
            assert (record.reason, record.rule) == (Reason.RULE_ALLOWED, "the-rule")
            assert (record.request_bytes, record.response_bytes) == (0, 8)
            assert record.request_id == b"id-1"
            assert record.latency_s is not None
            assert proxy.witness.in_progress == 0
            await client.close()
            await until(lambda: proxy.witness.open == 0)

    run(test())


def test_pipelining_reads_ahead_only_so_far(tmp_path: Path) -> None:
    """Requests behind a slow one wait in the client, not in the proxy."""
    request = b"GET / HTTP/1.1\r\nHost: users\r\n\r\n"

    async def never(peer: Peer) -> None:
        await peer.rest()

    async def test() -> None:
        limits = Limits(body_buffer=16384)
        async with proxied(tmp_path, never, limits=limits) as proxy:
            client = await proxy.client()
            client.writer.write(request * 500_000)
            connection = await proxy.serving()
            await until(lambda: len(connection.buffer) > limits.body_buffer)
            for _ in range(200):
                await until(lambda: True)
            # One read of the event loop may go over the mark.
            assert len(connection.buffer) < limits.body_buffer + 300_000
            client.reset()

    run(test())


@contextlib.asynccontextmanager
async def deaf(proxy: Proxy, request: bytes, count: int) -> AsyncIterator[socket.socket]:
    """A client that pipelines requests and reads nothing, from when the proxy has noticed."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", proxy.port))
        sending = asyncio.ensure_future(loop.sock_sendall(sock, request * count))
        connection = await proxy.serving()
        await until(lambda: connection.write_paused)
        yield sock
        sending.cancel()
        await asyncio.wait([sending])


def test_answers_of_our_own_are_bounded_too(tmp_path: Path) -> None:
    count = 100_000

    async def test() -> None:
        request = b"GET /no HTTP/1.1\r\nHost: users\r\n\r\n"
        async with (
            proxied(tmp_path, rules="{path: /ok}") as proxy,
            deaf(proxy, request, count) as sock,
        ):
            (connection,) = proxy.state.clients
            assert isinstance(connection, ClientConnection)
            assert connection.queued <= Limits().body_buffer + 1000
            answers = b""
            while answers.count(b"Access denied") < count:
                answers += await asyncio.get_running_loop().sock_recv(sock, 1_000_000)
            assert answers.count(b"HTTP/1.1 403") == count

    run(test())


def test_a_deaf_client_leaves_the_backend_connection_usable(tmp_path: Path) -> None:
    content = bytes(50_000)

    async def answer(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + content)

    async def test() -> None:
        request = b"GET / HTTP/1.1\r\nHost: users\r\n\r\n"
        async with proxied(tmp_path, answer) as proxy, deaf(proxy, request, 10_000):
            destination = proxy.state.pool.destination(
                Endpoint(proxy.backend.ip, proxy.backend.port), None
            )
            await until(lambda: destination.idle == 1)
            other = await proxy.client()
            assert (await other.get()).content == content
            assert proxy.witness.connects == 1

    run(test())
