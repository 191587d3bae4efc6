"""Reuse of backend connections: which, how long, and what happens when one is dead."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from l7proxy.limits import Limits
from l7proxy.proxy.pool import IdleStack
from l7proxy.proxy.ports import Endpoint
from l7proxy.proxy.userspace import Adapter
from l7proxy.reasons import Reason
from tests.proxy.harness import Peer, Proxy, hello, proxied, run, until

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_the_last_in_is_the_first_out() -> None:
    stack: IdleStack[str] = IdleStack(3)
    for each in "abc":
        assert stack.put(each) is None
    assert stack.put("d") == "a"
    assert len(stack) == 3
    stack.discard("c")
    stack.discard("never")
    assert [stack.take() for _ in range(3)] == ["d", "b", None]


async def one_only(peer: Peer) -> None:
    """Answers one request, promises to stay, and leaves at the second without a byte."""
    await peer.head()
    await peer.send(ANSWER)
    await peer.head()


async def busy(proxy: Proxy, count: int) -> None:
    """Has ``count`` requests in progress at once, so that as many connections are made."""
    clients = [await proxy.client() for _ in range(count)]
    await asyncio.gather(*(client.get() for client in clients))


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"])
def test_a_dead_idle_connection_is_replaced_once(tmp_path: Path, method: bytes) -> None:
    async def test() -> None:
        async with proxied(tmp_path, one_only) as proxy:
            client = await proxy.client()
            for count in (1, 2, 3):
                await client.send(method + b" / HTTP/1.1\r\nHost: u\r\n\r\n")
                assert (await client.answer(method)).status == 200
                assert len(proxy.backend.connections) == count
            assert proxy.witness.failures == []

    run(test())


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\nHost: u\r\nContent-Length: 0\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: u\r\nContent-Length: 1\r\n\r\nx",
    ],
)
def test_what_cannot_be_repeated_safely_is_not(tmp_path: Path, request_: bytes) -> None:
    async def test() -> None:
        async with proxied(tmp_path, one_only) as proxy:
            client = await proxy.client()
            assert (await client.get()).status == 200
            await client.send(request_)
            answer = await client.answer()
            assert answer.status == 502
            assert proxy.witness.reasons[-1] is Reason.UPSTREAM_CLOSED
            assert len(proxy.backend.connections) == 1

    run(test())


def test_a_request_that_was_answered_in_part_is_not_repeated(tmp_path: Path) -> None:
    async def half(peer: Peer) -> None:
        await peer.head()
        await peer.send(ANSWER)
        await peer.head()
        await peer.send(b"HTTP/1.1 2")

    async def test() -> None:
        async with proxied(tmp_path, half) as proxy:
            client = await proxy.client()
            assert (await client.get()).status == 200
            assert (await client.get()).status == 502
            assert len(proxy.backend.connections) == 1

    run(test())


def test_a_fresh_connection_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    async def rude(peer: Peer) -> None:
        await peer.head()

    async def test() -> None:
        async with proxied(tmp_path, rude) as proxy:
            client = await proxy.client()
            assert (await client.get()).status == 502
            assert len(proxy.backend.connections) == 1

    run(test())


def test_an_idle_connection_that_the_backend_closed_is_forgotten(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, one_only) as proxy:
            client = await proxy.client()
            await client.get()
            destination = proxy.state.pool.destination(here(proxy), None)
            assert destination.idle == 1
            await proxy.backend.connections[0].close()
            await until(lambda: destination.idle == 0)
            await client.send(b"POST / HTTP/1.1\r\nHost: u\r\nContent-Length: 0\r\n\r\n")
            assert (await client.answer()).status == 200

    run(test())


@pytest.mark.parametrize("when", ["with the response", "while idle"])
def test_unexpected_bytes_end_a_connection(tmp_path: Path, when: str) -> None:
    """What follows a response could be taken for the next one's."""
    stray = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"

    async def chatty(peer: Peer) -> None:
        await peer.head()
        if when == "with the response":
            await peer.send(ANSWER + stray)
        else:
            await peer.send(ANSWER)
            await idle.wait()
            await peer.send(stray)
        await peer.rest()

    idle = asyncio.Event()

    async def test() -> None:
        async with proxied(tmp_path, chatty) as proxy:
            client = await proxy.client()
            assert (await client.get()).content == b"ok"
            idle.set()
            await until(lambda: proxy.backend.connections[0].reader.at_eof())
            idle.clear()
            assert (await client.get()).content == b"ok"
            assert len(proxy.backend.connections) == 2

    run(test())


def test_idle_connections_expire_and_are_limited(tmp_path: Path) -> None:
    async def test() -> None:
        limits = Limits(pool_idle=2, pool_timeout=0.1)
        async with proxied(tmp_path, hello, limits=limits) as proxy:
            destination = proxy.state.pool.destination(here(proxy), None)
            await busy(proxy, 6)
            assert destination.idle <= 2
            await until(lambda: destination.idle == 0)
            await until(lambda: all(p.reader.at_eof() for p in proxy.backend.connections))

    run(test())


def test_every_socket_of_the_dialer_is_released_once(tmp_path: Path) -> None:
    opened: list[socket.socket] = []
    released: list[socket.socket] = []

    class Counting(Adapter):
        async def connect(self, destination: Endpoint, netns: str | None) -> socket.socket:
            sock = await super().connect(destination, netns)
            opened.append(sock)
            return sock

        def release(self, sock: socket.socket) -> None:
            assert sock.fileno() >= 0, "released after it was closed"
            released.append(sock)

    async def test() -> None:
        async with proxied(tmp_path, one_only, adapter=Counting) as proxy:
            await busy(proxy, 3)
            client = await proxy.client()
            for _ in range(3):
                await client.get()
        await until(lambda: len(released) == len(opened))

    run(test())
    assert len(opened) > 3
    assert {id(each) for each in opened} == {id(each) for each in released}


def test_a_connection_made_for_a_client_that_left_serves_the_next(tmp_path: Path) -> None:
    gate = asyncio.Event()

    class Slow(Adapter):
        async def connect(self, destination: Endpoint, netns: str | None) -> socket.socket:
            await gate.wait()
            return await super().connect(destination, netns)

    async def test() -> None:
        async with proxied(tmp_path, hello, adapter=Slow) as proxy:
            client = await proxy.client()
            await client.send(b"GET / HTTP/1.1\r\nHost: u\r\n\r\n")
            await until(lambda: proxy.witness.in_progress)
            client.reset()
            await until(lambda: not proxy.state.clients)
            destination = proxy.state.pool.destination(here(proxy), None)
            gate.set()
            await until(lambda: destination.idle == 1)
            assert (await (await proxy.client()).get()).status == 200
            assert proxy.witness.connects == 1

    run(test())


def here(proxy: Proxy) -> Endpoint:
    return Endpoint(proxy.backend.ip, proxy.backend.port)
