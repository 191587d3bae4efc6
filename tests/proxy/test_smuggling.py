"""Requests and responses that try to mean one thing to the proxy and another to the next reader.

What counts is what the backend has seen, and which client got whose answer. The corpus in
``tests/http`` holds the grammar; here it is whole connections.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from l7proxy.reasons import Reason
from tests.proxy.harness import Peer, proxied, run, until

GET_ONLY = "{method: GET}"
PUBLIC = '{path: "/public(/.*)?"}'
SMUGGLED = b"DELETE /secret HTTP/1.1\r\nHost: users\r\n\r\n"


def post(*fields: bytes) -> bytes:
    return b"POST /public HTTP/1.1\r\nHost: users\r\n" + b"\r\n".join((*fields, b"\r\n"))


AMBIGUOUS = {
    "length and coding": post(b"Content-Length: 4", b"Transfer-Encoding: chunked"),
    "coding and length": post(b"Transfer-Encoding: chunked", b"Content-Length: 4"),
    "two lengths": post(b"Content-Length: 4", b"Content-Length: 44"),
    "two equal lengths": post(b"Content-Length: 4", b"Content-Length: 4"),
    "list of lengths": post(b"Content-Length: 4, 4"),
    "signed length": post(b"Content-Length: +4"),
    "hexadecimal length": post(b"Content-Length: 0x4"),
    "length with a space": post(b"Content-Length: 4 4"),
    "empty length": post(b"Content-Length:"),
    "coding twice": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "coding after identity": post(b"Transfer-Encoding: identity, chunked"),
    "unknown coding": post(b"Transfer-Encoding: xchunked"),
    "quoted coding": post(b'Transfer-Encoding: "chunked"'),
    "coding with a parameter": post(b"Transfer-Encoding: chunked;q=1"),
    "space before the colon": post(b"Transfer-Encoding : chunked"),
    "tab before the colon": post(b"Transfer-Encoding\t: chunked"),
    "folded coding": post(b"Transfer-Encoding:", b" chunked"),
    "vertical tab in the coding": post(b"Transfer-Encoding: \x0bchunked"),
    "bare LF before the coding": post(b"X: y\nTransfer-Encoding: chunked"),
    "bare CR before the coding": post(b"X: y\rTransfer-Encoding: chunked"),
    "NUL in a value": post(b"X: y\0"),
    "no name": post(b": chunked"),
    "length named by Connection": post(b"Connection: content-length", b"Content-Length: 4"),
    "Host named by Connection": post(b"Connection: host"),
    "two hosts": post(b"Host: other"),
    "coding on HTTP/1.0": post(b"Transfer-Encoding: chunked").replace(b"/1.1", b"/1.0"),
    "absolute form of another host": post().replace(b"/public", b"http://other/public", 1),
    "tunnel": post().replace(b"POST /public", b"CONNECT users:80", 1),
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("head", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_ambiguous_request_reaches_nobody(tmp_path: Path, head: bytes) -> None:
    async def test() -> None:
        async with proxied(tmp_path) as proxy:
            client = await proxy.client()
            await client.send(head + b"0\r\n\r\n" + SMUGGLED)
            answer = await client.closed()
            assert answer.split(b" ")[1] in (b"400", b"405", b"501")
            assert answer.count(b"HTTP/1.1") == 1
            assert proxy.backend.connections == []

    run(test())


@pytest.mark.parametrize("pieces", [1, 7, 0], ids=["bytes", "sevens", "whole"])
def test_denied_request_in_a_pipeline(tmp_path: Path, pieces: int) -> None:
    """Each is decided by itself, and answers keep their order."""

    async def test() -> None:
        async with proxied(tmp_path, rules=PUBLIC) as proxy:
            client = await proxy.client()
            paths = (b"/public/1", b"/secret", b"/public/../secret", b"/public/2", b"/%73ecret")
            data = b"".join(b"GET %b HTTP/1.1\r\nHost: users\r\n\r\n" % path for path in paths)
            size = pieces or len(data)
            await client.send(*(data[at : at + size] for at in range(0, len(data), size)))
            answers = [await client.answer() for _ in paths]
            assert [each.status for each in answers] == [200, 403, 403, 200, 403]
            assert [answers[0].content, answers[3].content] == [b"/public/1", b"/public/2"]
            assert b"secret" not in proxy.backend.seen

    run(test())


async def swallow(peer: Peer) -> None:
    """Answers every request, and takes chunked content by the book."""
    while True:
        head = await peer.head()
        if b"chunked" in head:
            await peer.chunked()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def test_what_is_inside_a_body_is_no_request(tmp_path: Path) -> None:
    """Chunk extensions and trailers end here: the backend gets plain chunks."""

    async def test() -> None:
        async with proxied(tmp_path, swallow) as proxy:
            client = await proxy.client()
            body = b'%x;a="\t;b=c\r\n%b\r\n0;last\r\nX-Note: 1\r\n\r\n' % (len(SMUGGLED), SMUGGLED)
            await client.send(post(b"Transfer-Encoding: chunked") + body)
            assert (await client.answer()).status == 200
            assert (await client.get(b"/after")).status == 200
            assert b"a=" not in proxy.backend.seen
            assert b"0\r\nX-Note: 1\r\n\r\n" in proxy.backend.seen
            assert proxy.backend.seen.count(b"HTTP/1.1\r\n") == 3  # one of them is content

    run(test())


@pytest.mark.parametrize(
    "body",
    [
        b"4\r\nabcd0\r\n\r\n",
        b"4\nabcd\n0\n\n",
        b" 4\r\nabcd\r\n0\r\n\r\n",
        b"0x4\r\nabcd\r\n0\r\n\r\n",
        b"-1\r\nabcd\r\n0\r\n\r\n",
        b"11111111111111114\r\nabcd\r\n0\r\n\r\n",
        b"4 \r\nabcd\r\n0\r\n\r\n",
        b"4;a\nb\r\nabcd\r\n0\r\n\r\n",
        b"0\r\nContent-Length: 9\r\n\r\n",
        b"0\r\nHost: other\r\n\r\n",
        b"0\r\n X: folded\r\n\r\n",
        b"0\r\nX: a\nY: b\r\n\r\n",
    ],
)
def test_broken_chunks_never_complete_a_request(tmp_path: Path, body: bytes) -> None:
    ended: list[bool] = []

    async def watch(peer: Peer) -> None:
        await peer.head()
        await peer.chunked()
        ended.append(True)

    async def test() -> None:
        async with proxied(tmp_path, watch) as proxy:
            client = await proxy.client()
            await client.send(post(b"Transfer-Encoding: chunked") + body + SMUGGLED)
            answer = await client.closed()
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert answer.count(b"HTTP/1.1") == 1
            await client.close()
            await until(lambda: not proxy.state.clients)
        assert ended == []
        assert b"secret" not in proxy.backend.seen

    run(test())


def test_header_that_ends_here_allows_nothing(tmp_path: Path) -> None:
    """What Connection names does not reach the server, so no rule may rest on it."""

    async def test() -> None:
        async with proxied(tmp_path, rules='{headers: ["X-Key: k"]}') as proxy:
            client = await proxy.client()
            assert (await client.get(extra=b"X-Key: k\r\n")).status == 200
            named = b"X-Key: k\r\nConnection: x-key\r\n"
            assert (await client.get(extra=named)).status == 403
            assert (await client.get(extra=b"X_Key: k\r\n")).status == 403

    run(test())


@pytest.mark.parametrize(
    "offer",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: Upgrade\r\nUpgrade: TLS/1.0, h2c\r\n",
    ],
)
def test_upgrade_that_is_not_offered_on(tmp_path: Path, offer: bytes) -> None:
    """What follows is decided as requests, and the server is not asked to switch."""

    async def test() -> None:
        async with proxied(tmp_path, rules=GET_ONLY) as proxy:
            client = await proxy.client()
            await client.send(b"GET /1 HTTP/1.1\r\nHost: users\r\n" + offer + b"\r\n" + SMUGGLED)
            assert (await client.answer()).status == 200
            assert (await client.answer()).status == 403
            assert b"pgrade" not in proxy.backend.seen
            assert b"secret" not in proxy.backend.seen

    run(test())


def test_bytes_ahead_of_an_accepted_upgrade(tmp_path: Path) -> None:
    """A request hidden behind a WebSocket handshake that the server refuses."""

    async def test() -> None:
        async with proxied(tmp_path, rules=GET_ONLY) as proxy:
            client = await proxy.client()
            offer = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            await client.send(b"GET / HTTP/1.1\r\nHost: users\r\n" + offer + SMUGGLED)
            assert (await client.closed()).startswith(b"HTTP/1.1 400 ")
            assert proxy.backend.seen == b""

    run(test())


def test_expectation_of_a_denied_request(tmp_path: Path) -> None:
    """Whether the content follows cannot be known: the connection ends."""

    async def test() -> None:
        async with proxied(tmp_path, rules=GET_ONLY) as proxy:
            client = await proxy.client()
            await client.send(post(b"Expect: 100-continue", b"Content-Length: 40"))
            await client.send(b"GET /public HTTP/1.1\r\nHost: users\r\n\r\n")
            answer = await client.closed()
            assert answer.count(b"HTTP/1.1") == 1
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert proxy.backend.connections == []

    run(test())


# A backend that says more than it was asked.

TWICE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
STOLEN = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (TWICE + STOLEN, 200),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\nbody..", 204),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nstolen", 304),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + STOLEN, 200),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + TWICE + STOLEN, 200),
    ],
)
def test_surplus_of_a_response_is_for_nobody(tmp_path: Path, answer: bytes, status: int) -> None:
    async def generous(peer: Peer) -> None:
        while True:
            path = (await peer.head()).split(b" ")[1]
            own = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine"
            await peer.send(answer if path == b"/first" else own)

    async def test() -> None:
        async with proxied(tmp_path, generous) as proxy:
            first, second = await proxy.client(), await proxy.client()
            got = await first.get(b"/first")
            while got.status == 100:
                got = await first.answer()
            assert got.status == status
            assert (await second.get(b"/second")).content == b"mine"
            assert (await first.get(b"/third")).content == b"mine"
            assert len(proxy.backend.connections) == 2

    run(test())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_response_with_two_readings_is_not_passed_on(tmp_path: Path, answer: bytes) -> None:
    async def split(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer)
        await peer.rest()

    async def test() -> None:
        async with proxied(tmp_path, split) as proxy:
            client = await proxy.client()
            await client.send(b"GET / HTTP/1.1\r\nHost: users\r\n\r\n")
            assert (await client.closed()).startswith(b"HTTP/1.1 502 ")
            assert proxy.witness.reasons == [Reason.UPSTREAM_NOT_HTTP]

    run(test())


def test_response_before_its_request(tmp_path: Path) -> None:
    """A backend that answers what was not asked loses its idle connection."""

    idle: list[Peer] = []

    async def eager(peer: Peer) -> None:
        await peer.head()
        await peer.send(TWICE)
        idle.append(peer)
        await peer.rest()

    async def test() -> None:
        async with proxied(tmp_path, eager) as proxy:
            first, second = await proxy.client(), await proxy.client()
            assert (await first.get(b"/1")).content == b"first"
            await idle[0].send(STOLEN)
            await until(lambda: idle[0].reader.at_eof() or idle[0].writer.is_closing())
            assert (await second.get(b"/2")).content == b"first"
            assert len(proxy.backend.connections) == 2

    run(test())
