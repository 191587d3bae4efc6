"""How connections end: half-close, silence, loss, and who is told what."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from l7proxy.limits import Limits
from l7proxy.observe.flows import DROPPED, ERROR
from l7proxy.reasons import Reason
from tests.proxy.harness import Peer, Proxy, proxied, run, until

GET = b"GET / HTTP/1.1\r\nHost: users\r\n\r\n"
SHORT = 0.1  # seconds; tests wait for it, none measures it


async def silent(peer: Peer) -> None:
    await peer.rest()


def test_a_client_that_ends_its_side_still_gets_every_response(tmp_path: Path) -> None:
    async def slow(peer: Peer) -> None:
        while True:
            head = await peer.head()
            await until(lambda: ended)
            path = head.split(b" ")[1]
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + path)

    ended: list[bool] = []

    async def test() -> None:
        async with proxied(tmp_path, slow) as proxy:
            client = await proxy.client()
            await client.send(GET.replace(b"/ ", b"/1 ", 1) + GET.replace(b"/ ", b"/2 ", 1))
            client.eof()
            connection = await proxy.serving()
            await until(lambda: connection.ended)
            ended.append(True)
            assert [(await client.answer()).content for _ in range(2)] == [b"/1", b"/2"]
            assert await client.closed() == b""

    run(test())


@pytest.mark.parametrize("framing", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
def test_half_a_request_aborts_the_backend(tmp_path: Path, framing: bytes) -> None:
    async def test() -> None:
        async with proxied(tmp_path, silent) as proxy:
            client = await proxy.client()
            await client.send(b"POST / HTTP/1.1\r\nHost: u\r\n" + framing + b"\r\n\r\n4\r\nab")
            await until(lambda: proxy.backend.connections)
            client.eof()
            await until(lambda: proxy.backend.connections[0].reader.at_eof())
            (record,) = await proxy.recorded()
            assert (record.reason, record.verdict) == (Reason.CLIENT_CLOSED, ERROR)
            assert not proxy.backend.seen.endswith(b"0\r\n\r\n")

    run(test())


def test_a_client_that_goes_away_ends_the_exchange(tmp_path: Path) -> None:
    async def stream(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await peer.send(bytes(10_000))

    async def test() -> None:
        async with proxied(tmp_path, stream) as proxy:
            client = await proxy.client()
            await client.send(GET)
            await client.head()
            client.reset()
            (record,) = await proxy.recorded()
            assert (record.status, record.reason) == (200, Reason.CLIENT_CLOSED)
            await until(lambda: not proxy.state.clients)

    run(test())


@pytest.mark.parametrize("part", [b"G", b"GET / HTTP/1.1\r\nHost: users\r\n"])
def test_slowloris_ends_in_408(tmp_path: Path, part: bytes) -> None:
    async def test() -> None:
        async with proxied(tmp_path, limits=Limits(head_timeout=SHORT)) as proxy:
            client = await proxy.client()
            await client.send(part)
            answer = await client.answer()
            assert (answer.status, answer.header(b"connection")) == (408, b"close")
            assert answer.content.startswith(b"head-timeout: ")
            assert await client.closed() == b""
            (record,) = await proxy.recorded()
            assert (record.reason, record.verdict) == (Reason.HEAD_TIMEOUT, DROPPED)
            assert proxy.backend.connections == []

    run(test())


def test_a_trickle_does_not_move_the_deadline_of_a_head(tmp_path: Path) -> None:
    async def trickle(proxy: Proxy) -> bytes:
        client = await proxy.client()
        reading = asyncio.ensure_future(client.reader.read(12))
        await client.send(b"GET / HTTP/1.1\r\n")
        while not reading.done():
            await client.send(b"X-More: and more\r\n")
            await asyncio.wait([reading], timeout=SHORT / 8)
        return reading.result()

    async def test() -> None:
        limits = Limits(head_timeout=SHORT, head_fields=10**6, head_bytes=10**8)
        async with proxied(tmp_path, limits=limits) as proxy:
            assert await trickle(proxy) == b"HTTP/1.1 408"

    run(test())


def test_an_idle_client_is_let_go_in_silence(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, limits=Limits(idle_timeout=SHORT)) as proxy:
            fresh, used = await proxy.client(), await proxy.client()
            assert (await used.get()).status == 200
            assert await used.closed() == b""
            assert await fresh.closed() == b""
            assert len(proxy.witness.records) == 1

    run(test())


def test_a_body_that_stops_ends_in_408(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, silent, limits=Limits(body_timeout=SHORT)) as proxy:
            client = await proxy.client()
            await client.send(b"POST / HTTP/1.1\r\nHost: u\r\nContent-Length: 10\r\n\r\nabc")
            answer = await client.answer()
            assert answer.status == 408
            assert answer.content.startswith(b"body-timeout: ")
            assert await client.closed() == b""
            await until(lambda: proxy.backend.connections[0].reader.at_eof())

    run(test())


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-"])
def test_a_backend_without_a_response_ends_in_504(tmp_path: Path, start: bytes) -> None:
    async def stuck(peer: Peer) -> None:
        await peer.head()
        await peer.send(start)
        await peer.rest()

    async def test() -> None:
        async with proxied(tmp_path, stuck, limits=Limits(first_byte_timeout=SHORT)) as proxy:
            client = await proxy.client()
            answer = await client.get()
            assert answer.status == 504
            assert answer.content.startswith(b"upstream-timeout: ")
            assert proxy.witness.failures == [Reason.UPSTREAM_TIMEOUT]
            await until(lambda: proxy.backend.connections[0].reader.at_eof())

    run(test())


def test_a_backend_that_never_says_continue_ends_in_504(tmp_path: Path) -> None:
    """The client is right to wait: the silence is the backend's."""

    async def test() -> None:
        async with proxied(tmp_path, silent, limits=Limits(first_byte_timeout=SHORT)) as proxy:
            client = await proxy.client()
            await client.send(
                b"POST / HTTP/1.1\r\nHost: u\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
            )
            assert (await client.answer()).status == 504

    run(test())


def test_a_response_that_stops_ends_in_a_reset(tmp_path: Path) -> None:
    async def stuck(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await peer.rest()

    async def test() -> None:
        async with proxied(tmp_path, stuck, limits=Limits(stream_timeout=SHORT)) as proxy:
            client = await proxy.client()
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await client.get()
            (record,) = await proxy.recorded()
            assert (record.status, record.reason) == (200, Reason.UPSTREAM_TIMEOUT)

    run(test())


def test_a_client_that_never_reads_is_let_go(tmp_path: Path) -> None:
    async def flood(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await peer.send(bytes(100_000))

    async def test() -> None:
        async with proxied(tmp_path, flood, limits=Limits(stream_timeout=SHORT)) as proxy:
            client = await proxy.client(limit=1000)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(GET)
            (record,) = await proxy.recorded()
            assert record.reason is Reason.CLIENT_CLOSED
            await until(lambda: not proxy.state.clients)

    run(test())


def test_a_backend_that_refuses_is_503(tmp_path: Path) -> None:
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        rules = f'{{action: forward, forward: {{address: "127.0.0.1:{port}"}}}}'
        async with proxied(tmp_path, rules=rules) as proxy:
            client = await proxy.client()
            answer = await client.get()
            assert answer.status == 503
            assert answer.content.startswith(b"upstream-refused: ")
            assert proxy.witness.failures == [Reason.UPSTREAM_REFUSED]

    run(test())


def test_a_backend_that_does_not_answer_the_connect_is_503(tmp_path: Path) -> None:
    async def test() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            port = full.getsockname()[1]
            waiting = [socket.socket() for _ in range(4)]
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            rules = f'{{action: forward, forward: {{address: "127.0.0.1:{port}"}}}}'
            limits = Limits(connect_timeout=SHORT)
            async with proxied(tmp_path, rules=rules, limits=limits) as proxy:
                client = await proxy.client()
                assert (await client.get()).content.startswith(b"upstream-refused: ")
            for each in waiting:
                each.close()

    run(test())


def test_a_backend_that_closes_instead_of_answering_is_502(tmp_path: Path) -> None:
    async def rude(peer: Peer) -> None:
        await peer.head()

    async def test() -> None:
        async with proxied(tmp_path, rude) as proxy:
            client = await proxy.client()
            answer = await client.get()
            assert answer.status == 502
            assert answer.content.startswith(b"upstream-closed: ")
            assert len(proxy.backend.connections) == 1

    run(test())
