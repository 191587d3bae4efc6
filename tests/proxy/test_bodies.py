"""Content in both directions: whole, streamed, and never more of it in memory than allowed."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from pathlib import Path

import pytest

from l7proxy.limits import Limits
from l7proxy.proxy.exchange import Exchange
from l7proxy.reasons import Reason
from tests.proxy.harness import Peer, header, policies, proxied, run, until

BIG = random.Random(7).randbytes(5_000_000)
# What one read of the event loop may bring beyond the mark at which reading stops.
ONE_READ = 300_000
SMALL_BUFFERS = 65536


async def mirror(peer: Peer) -> None:
    """Answers with the content of the request, in the same framing, after reading all of it."""
    while True:
        head = await peer.head()
        if header(head, b"transfer-encoding"):
            content, _ = await peer.chunked()
            await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(content), 100_000):
                piece = content[at : at + 100_000]
                await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await peer.send(b"0\r\n\r\n")
        else:
            content = await peer.exactly(int(header(head, b"content-length") or 0))
            await peer.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content), content
            )


@pytest.mark.parametrize("chunked", [False, True])
def test_large_content_arrives_whole(tmp_path: Path, chunked: bool) -> None:
    shuffled = random.Random(3)

    async def upload(client: Peer) -> None:
        at = 0
        while at < len(BIG):
            size = shuffled.choice((1, 7, 1000, 65536, 400_000))
            piece = BIG[at : at + size]
            at += size
            await client.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            await client.send(b"0\r\n\r\n")

    async def test() -> None:
        async with proxied(tmp_path, mirror) as proxy:
            client = await proxy.client()
            for _ in range(2):
                framing = (
                    b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(BIG)
                )
                await client.send(b"POST / HTTP/1.1\r\nHost: u\r\n" + framing + b"\r\n\r\n")
                _, answer = await asyncio.gather(upload(client), client.answer())
                assert digest(answer.content) == digest(BIG)
            first, second = await proxy.recorded(2)
            assert first.request_bytes == first.response_bytes == len(BIG)
            assert second.request_bytes == second.response_bytes == len(BIG)
            assert len(proxy.backend.connections) == 1

    run(test())


def test_a_client_that_stops_reading_makes_the_backend_wait(tmp_path: Path) -> None:
    """Seen to fail with ``client_paused`` emptied: the proxy then holds all 64 MB."""
    total = 64_000_000
    limits = Limits()

    async def flood(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(total // 64_000):
            await peer.send(bytes(64_000))

    async def test() -> None:
        async with proxied(tmp_path, flood) as proxy:
            client = await proxy.client(limit=SMALL_BUFFERS)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(b"GET / HTTP/1.1\r\nHost: u\r\n\r\n")
            connection = await proxy.serving()
            await until(lambda: connection.write_paused)
            largest = 0
            for _ in range(100):
                await asyncio.sleep(0.002)
                largest = max(largest, connection.queued)
            assert limits.body_buffer <= largest <= limits.body_buffer + ONE_READ
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            await client.head()
            assert len(await client.exactly(total)) == total
            assert connection.write_paused is False

    run(test())


def test_a_backend_that_stops_reading_makes_the_client_wait(tmp_path: Path) -> None:
    """Seen to fail with ``write_paused`` ignored when the body is sent on."""
    total = 64_000_000
    limits = Limits()
    go = asyncio.Event()

    async def sleepy(peer: Peer) -> None:
        await peer.head()
        await go.wait()
        await peer.exactly(total)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def test() -> None:
        async with proxied(tmp_path, sleepy) as proxy:
            client = await proxy.client()
            await client.send(b"POST / HTTP/1.1\r\nHost: u\r\nContent-Length: %d\r\n\r\n" % total)
            sending = asyncio.ensure_future(client.send(*[bytes(64_000)] * (total // 64_000)))
            connection = await proxy.serving()
            user = connection.user
            assert isinstance(user, Exchange)
            await until(lambda: user.upstream is not None and user.upstream.write_paused)
            await until(lambda: connection._reading_paused)
            upstream = user.upstream
            assert upstream is not None
            assert upstream.transport is not None
            largest = 0
            for _ in range(100):
                await asyncio.sleep(0.002)
                queued = upstream.transport.get_write_buffer_size() + len(connection.buffer)
                largest = max(largest, queued)
            assert limits.body_buffer <= largest <= 2 * limits.body_buffer + 2 * ONE_READ
            assert not sending.done()
            go.set()
            await sending
            assert (await client.answer()).status == 200

    run(test())


def test_a_backend_that_never_accepts_holds_no_body(tmp_path: Path) -> None:
    """The body waits in the client while the connection to the backend is being made."""

    async def test() -> None:
        async with proxied(tmp_path, mirror, limits=Limits(connect_timeout=5)) as proxy:
            full = socket.socket()
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            filler = [nonblocking(full.getsockname()) for _ in range(4)]
            rules = (
                f'{{action: forward, forward: {{address: "127.0.0.1:{full.getsockname()[1]}"}}}}'
            )
            proxy.apply(policies(tmp_path, rules, proxy.backend.port))
            client = await proxy.client()
            await client.send(b"POST / HTTP/1.1\r\nHost: u\r\nContent-Length: 50000000\r\n\r\n")
            sending = asyncio.ensure_future(client.send(*[bytes(64_000)] * 700))
            connection = await proxy.serving()
            await until(lambda: connection._reading_paused)
            assert len(connection.buffer) <= Limits().body_buffer + ONE_READ
            sending.cancel()
            client.reset()
            for each in (full, *filler):
                each.close()

    run(test())


def test_an_answer_before_the_end_of_the_request(tmp_path: Path) -> None:
    """The client gets it, and is told that the connection ends: its request was not read."""

    async def early(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await peer.rest()

    async def test() -> None:
        async with proxied(tmp_path, early) as proxy:
            client = await proxy.client()
            await client.send(b"POST / HTTP/1.1\r\nHost: u\r\nContent-Length: 90000000\r\n\r\n")
            answer = await client.answer()
            assert (answer.status, answer.content) == (413, b"big")
            assert answer.header(b"connection") == b"close"
            await client.send(bytes(200_000))
            assert await client.closed() == b""
            # That backend connection is in the middle of a request: never used again.
            await until(lambda: proxy.backend.connections[0].reader.at_eof())

    run(test())


def test_an_answer_that_was_followed_by_a_reset_is_not_lost(tmp_path: Path) -> None:
    """The backend answers, reads nothing and closes; the proxy learns it while writing."""
    gone = asyncio.Event()

    async def curt(peer: Peer) -> None:
        await peer.head()
        await go.wait()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        peer.reset()
        gone.set()

    go = asyncio.Event()

    async def test() -> None:
        async with proxied(tmp_path, curt) as proxy:
            client = await proxy.client()
            await client.send(b"POST / HTTP/1.1\r\nHost: u\r\nContent-Length: 9000\r\n\r\nabc")
            await until(lambda: proxy.backend.connections)
            connection = await proxy.serving()
            assert isinstance(connection.user, Exchange)
            assert connection.user.upstream is not None
            # As if the event loop had not come to read yet.
            connection.user.upstream.pause_reading()
            go.set()
            await gone.wait()
            await client.send(b"more")
            answer = await client.answer()
            assert (answer.status, answer.content) == (413, b"big")

    run(test())


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_a_response_cut_short_is_never_made_to_look_whole(tmp_path: Path, framing: bytes) -> None:
    async def cut(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n5\r\nabcde\r\n")

    async def test() -> None:
        async with proxied(tmp_path, cut) as proxy:
            client = await proxy.client()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await client.get()
            (record,) = await proxy.recorded()
            assert record.reason is Reason.UPSTREAM_CLOSED
            assert proxy.witness.failures == [Reason.UPSTREAM_CLOSED]

    run(test())


def test_content_until_close_that_ends_in_a_reset_is_cut_short(tmp_path: Path) -> None:
    async def cut(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await go.wait()
        peer.reset()

    go = asyncio.Event()

    async def test() -> None:
        async with proxied(tmp_path, cut) as proxy:
            client = await proxy.client()
            await client.send(b"GET / HTTP/1.1\r\nHost: u\r\n\r\n")
            await client.head()
            assert await client.exactly(8) == b"3\r\nabc\r\n"
            go.set()
            with pytest.raises(ConnectionResetError):
                await client.rest()

    run(test())


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
)
def test_a_backend_that_speaks_no_http(tmp_path: Path, garbage: bytes) -> None:
    async def babble(peer: Peer) -> None:
        await peer.head()
        await peer.send(garbage)
        await peer.rest()

    async def test() -> None:
        async with proxied(tmp_path, babble) as proxy:
            client = await proxy.client()
            answer = await client.get()
            assert answer.status == 502
            assert answer.content.startswith(b"upstream-not-http: ")

    run(test())


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def nonblocking(address: tuple[str, int]) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(address)
    return sock
