"""Upgrade and Expect: what may only happen once the backend has agreed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from l7proxy.limits import Limits
from l7proxy.reasons import Reason
from tests.proxy.harness import Client, Peer, header, policies, proxied, run, until

OFFER = (
    b"GET /chat HTTP/1.1\r\nHost: u\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ACCEPT = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
POST = b"POST / HTTP/1.1\r\nHost: u\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"


async def shout(peer: Peer) -> None:
    """Accepts an upgrade, greets, and answers in capitals until the client ends."""
    head = await peer.head()
    assert header(head, b"upgrade") == b"websocket"
    assert header(head, b"connection") == b"Upgrade"
    assert header(head, b"sec-websocket-key")
    await peer.send(ACCEPT + b"greeting")
    while data := await peer.reader.read(65536):
        await peer.send(data.upper())
    await peer.send(b"<end>")


async def tunnel(client: Client) -> None:
    await client.send(OFFER)
    answer = await client.answer()
    assert (answer.status, answer.header(b"upgrade")) == (101, b"websocket")
    assert await client.exactly(8) == b"greeting"


def test_an_accepted_upgrade_is_a_tunnel(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, shout) as proxy:
            client = await proxy.client()
            await tunnel(client)
            for word in (b"\x00\xff\r\n", b"get / http/1.1\r\n\r\n"):
                await client.send(word)
                assert await client.exactly(len(word)) == word.upper()
            big = b"a" * 3_000_000
            _, back = await asyncio.gather(client.send(big), client.exactly(len(big)))
            assert back == big.upper()
            assert proxy.witness.records == []
            client.eof()
            assert await client.rest() == b"<end>"
            (record,) = await proxy.recorded()
            assert (record.status, record.reason) == (101, Reason.RULE_ALLOWED)
            assert record.request_bytes > len(big)
            assert proxy.witness.in_progress == 0

    run(test())


def test_a_tunnel_has_bounds(tmp_path: Path) -> None:
    """A client that does not read makes the backend wait."""

    async def flood(peer: Peer) -> None:
        await peer.head()
        await peer.send(ACCEPT)
        for _ in range(1000):
            await peer.send(bytes(64_000))

    async def test() -> None:
        limits = Limits()
        async with proxied(tmp_path, flood) as proxy:
            client = await proxy.client(limit=65536)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(OFFER)
            connection = await proxy.serving()
            await until(lambda: connection.write_paused)
            for _ in range(50):
                await asyncio.sleep(0.002)
                assert connection.queued <= limits.body_buffer + 300_000
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            await client.head()
            assert len(await client.rest()) == 64_000_000

    run(test())


def test_a_tunnel_has_bounds_the_other_way(tmp_path: Path) -> None:
    """A backend that does not read makes the client wait, also for the end of what it sends."""
    total = 64_000_000
    go = asyncio.Event()

    async def sleepy(peer: Peer) -> None:
        await peer.head()
        await peer.send(ACCEPT)
        await go.wait()
        size = 0
        while data := await peer.reader.read(1_000_000):
            size += len(data)
        await peer.send(b"%d" % size)

    async def test() -> None:
        async with proxied(tmp_path, sleepy) as proxy:
            client = await proxy.client()
            await client.send(OFFER)
            await client.head()
            sending = asyncio.ensure_future(client.send(*[bytes(64_000)] * (total // 64_000)))
            connection = await proxy.serving()
            await until(lambda: connection._reading_paused)
            for _ in range(50):
                await asyncio.sleep(0.002)
                assert len(connection.buffer) <= Limits().body_buffer + 300_000
            assert not sending.done()
            go.set()
            await sending
            client.eof()
            assert await client.rest() == b"%d" % total

    run(test())


def test_a_tunnel_passes_a_reset_on(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, shout) as proxy:
            client = await proxy.client()
            await tunnel(client)
            proxy.backend.connections[0].reset()
            with pytest.raises(ConnectionResetError):
                await client.exactly(1)
            gone = await proxy.client()
            await tunnel(gone)
            gone.reset()
            await until(lambda: len(proxy.witness.records) == 2)

    run(test())


@pytest.mark.parametrize("rules", ['{path: "/other"}', '{path: "/.*", action: block}'])
def test_a_tunnel_ends_when_policy_would_not_let_it_begin(tmp_path: Path, rules: str) -> None:
    async def test() -> None:
        async with proxied(tmp_path, shout) as proxy:
            client = await proxy.client()
            await tunnel(client)
            proxy.apply(policies(tmp_path, "{}", proxy.backend.port))
            await client.send(b"more")
            assert await client.exactly(4) == b"MORE"
            proxy.apply(policies(tmp_path, rules, proxy.backend.port))
            with pytest.raises(ConnectionResetError):
                await client.exactly(1)

    run(test())


def test_a_silent_tunnel_ends(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, shout, limits=Limits(stream_timeout=0.1)) as proxy:
            client = await proxy.client()
            await tunnel(client)
            with pytest.raises(ConnectionResetError):
                await client.exactly(1)

    run(test())


def test_a_declined_upgrade_is_an_ordinary_exchange(tmp_path: Path) -> None:
    async def decline(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")

    async def test() -> None:
        async with proxied(tmp_path, decline) as proxy:
            client = await proxy.client()
            for _ in range(2):
                await client.send(OFFER)
                assert (await client.answer()).content == b"no"
            assert len(proxy.backend.connections) == 1

    run(test())


def test_what_is_pipelined_behind_a_declined_upgrade(tmp_path: Path) -> None:
    """The head of the answer tells that the connection goes on, whatever its content takes."""
    sent = asyncio.Event()

    async def decline(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nn")
        await sent.wait()
        await peer.send(b"o")
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")

    async def test() -> None:
        async with proxied(tmp_path, decline) as proxy:
            client = await proxy.client()
            await client.send(OFFER)
            assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
            await client.send(b"GET /chat HTTP/1.1\r\nHost: u\r\n\r\n")
            accepted = await proxy.serving()
            await until(lambda: accepted.buffer or accepted.closing)
            sent.set()
            assert await client.exactly(2) == b"no"
            assert (await client.answer()).content == b"yes"

    run(test())


def test_h2c_is_not_offered_to_the_backend(tmp_path: Path) -> None:
    """The requests inside would be decided by nobody."""

    async def answer(peer: Peer) -> None:
        head = await peer.head()
        for name in (b"upgrade", b"connection", b"http2-settings"):
            assert header(head, name) is None
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def test() -> None:
        async with proxied(tmp_path, answer) as proxy:
            client = await proxy.client()
            extra = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
            assert (await client.get(b"/", extra)).content == b"ok"

    run(test())


def test_bytes_before_the_answer_to_an_upgrade(tmp_path: Path) -> None:
    async def wait(peer: Peer) -> None:
        await peer.head()
        await peer.rest()

    async def test() -> None:
        async with proxied(tmp_path, wait) as proxy:
            at_once = await proxy.client()
            await at_once.send(OFFER + b"x")
            assert (await at_once.answer()).content.startswith(b"bytes-before-upgrade: ")
            assert await at_once.closed() == b""
            assert proxy.backend.connections == []
            later = await proxy.client()
            await later.send(OFFER)
            await until(lambda: proxy.backend.connections)
            await later.send(b"x")
            assert (await later.answer()).status == 400
            assert await later.closed() == b""
            await until(lambda: proxy.backend.connections[0].reader.at_eof())
            assert b"x" not in proxy.backend.connections[0].seen.partition(b"\r\n\r\n")[2]

    run(test())


def test_a_denied_upgrade_is_answered(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, shout, rules="{path: /other}") as proxy:
            client = await proxy.client()
            await client.send(OFFER)
            assert (await client.answer()).status == 403
            assert proxy.backend.connections == []

    run(test())


def test_the_backend_says_continue(tmp_path: Path) -> None:
    async def patient(peer: Peer) -> None:
        while True:
            head = await peer.head()
            assert header(head, b"expect") == b"100-continue"
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            content = await peer.exactly(5)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", content)

    async def test() -> None:
        async with proxied(tmp_path, patient) as proxy:
            client = await proxy.client()
            for _ in range(2):
                await client.send(POST)
                assert (await client.answer()).status == 100
                await client.send(b"abcde")
                answer = await client.answer()
                assert (answer.content, answer.header(b"connection")) == (b"abcde", None)

    run(test())


def test_a_client_that_does_not_wait_for_continue(tmp_path: Path) -> None:
    async def late(peer: Peer) -> None:
        await peer.head()
        content = await peer.exactly(5)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", content)

    async def test() -> None:
        async with proxied(tmp_path, late) as proxy:
            client = await proxy.client()
            await client.send(POST, b"abcde")
            assert (await client.answer()).content == b"abcde"

    run(test())


def test_the_backend_declines_to_continue(tmp_path: Path) -> None:
    """The next bytes could be the body or a request: the connection ends."""

    async def decline(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        await peer.rest()

    async def test() -> None:
        async with proxied(tmp_path, decline) as proxy:
            client = await proxy.client()
            await client.send(POST)
            answer = await client.answer()
            assert (answer.status, answer.header(b"connection")) == (417, b"close")
            assert await client.closed() == b""

    run(test())
