"""What the clients do: a round of each kind is one connection, made and left."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from tests.kernel_road.soak.client import Client
from tests.kernel_road.soak.message import Request, request

_BODIES = (0, 1, 700, 20_000, 200_000, 1_000_000)
_BODY_WEIGHTS = (4, 4, 8, 8, 4, 1)
_LARGE = 64 << 10, 1 << 20
_SMALL_BUFFER = 16 << 10
_LEAVES = "end", "reset", "vanish"


def _family() -> str:
    return random.choices(("ok", "no", "turn"), (5, 2, 2))[0]


def _small(client: Client, family: str, is_last: bool = False) -> Request:
    method = random.choice(("GET", "GET", "HEAD", "POST"))
    body = random.randbytes(random.randrange(500)) if method == "POST" else b""
    return request(client.number(), family, method, body=body, is_last=is_last)


async def _sleep(seconds: float) -> None:
    """More or less so long, so that clients do not keep in step."""
    await asyncio.sleep(seconds * random.uniform(0.5, 1.5))


def _cut(data: bytes, most: int, before: int) -> Iterator[bytes]:
    """In so many pieces at most, with cuts before that place."""
    cuts = sorted(random.randrange(before) for _ in range(random.randrange(1, most)))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if start < end:
            yield data[start:end]


async def keep_alive(client: Client) -> None:
    """Small requests on one connection; refusals do not end it."""
    with await client.connect() as connection:
        for number in range(20):
            asked = _small(client, _family() if number else "ok")
            if not await client.exchange(connection, asked, keeps=True):
                return
            await _sleep(0.1)


async def pipeline(client: Client) -> None:
    """Requests that wait for no answer, in one send() or in many, with some refused."""
    families = ["ok"] * random.randrange(2, 7)
    for _ in range(random.randrange(1, 3)):
        families.insert(random.randrange(1, len(families)), random.choice(("no", "turn")))
    with await client.connect() as connection:
        if not await client.exchange(connection, _small(client, "ok")):
            return
        asked = [_small(client, family) for family in families]
        together = random.random() < 0.5
        since = client.period.now()
        for data in [b"".join(each.data for each in asked)] if together else _datas(asked):
            await connection.send(data)
        for each in asked:
            if not await client.told(connection, each, since, in_doubt=True):
                return


def _datas(asked: list[Request]) -> list[bytes]:
    return [each.data for each in asked]


async def upload(client: Client) -> None:
    """Content of all sizes, with a length or in chunks, in one send() or in many."""
    with await client.connect() as connection:
        for _ in range(3):
            asked = request(
                client.number(),
                random.choices(("ok", "no", "turn"), (6, 1, 1))[0],
                random.choice(("PUT", "POST")),
                body=random.randbytes(random.choices(_BODIES, _BODY_WEIGHTS)[0]),
                chunked=random.random() < 0.5,
            )
            since = client.period.now()
            pieces = [asked.data]
            if random.random() < 0.7:
                pieces = list(_cut(asked.data, 6, len(asked.data)))
            for piece in pieces:
                await connection.send(piece)
                if random.random() < 0.5:
                    await asyncio.sleep(0)
            if not await client.told(connection, asked, since, in_doubt=len(pieces) > 1):
                return
            await _sleep(0.2)


def _of_size(client: Client, family: str, size: int) -> Request:
    how = random.choice(("length", "chunked"))
    return request(client.number(), family, how=how, size=size)


async def large(client: Client) -> None:
    """Large answers."""
    with await client.connect() as connection:
        for _ in range(4):
            size = random.choice(_LARGE)
            asked = _of_size(client, random.choice(("ok", "ok", "turn")), size)
            # Of an answer in chunks that is taken in parts the kernel does not see the end.
            if not await client.exchange(connection, asked, size, in_doubt=True):
                return
            await _sleep(0.2)


async def slow_reader(client: Client) -> None:
    """A large answer, read so slowly that the server has to wait; then another request."""
    with await client.connect(_SMALL_BUFFER) as connection:
        size = _LARGE[1]
        connection.pause = random.uniform(0.01, 0.1)
        if not await client.exchange(connection, _of_size(client, "ok", size), size):
            return
        connection.pause = 0
        await client.exchange(connection, _small(client, _family()), in_doubt=True)


async def slow_sender(client: Client) -> None:
    """Heads, and content, in pieces with time between them."""
    with await client.connect() as connection:
        for _ in range(3):
            asked = _small(client, _family())
            since = client.period.now()
            for piece in _cut(asked.data, 6, asked.end):
                await connection.send(piece)
                await _sleep(0.2)
            if not await client.told(connection, asked, since, in_doubt=True, slowly=True):
                return


async def leaver(client: Client) -> None:
    """Goes away in the middle of a request or of its answer."""
    with await client.connect() as connection:
        client.books.requests += 1
        body = random.randbytes(random.choice(_BODIES[:-1]))
        large = random.random() < 0.3
        family = "ok" if large else _family()
        if large:
            asked = _of_size(client, family, _LARGE[1])
        else:
            asked = request(client.number(), family, "PUT", body=body)
        cut = random.choice((asked.end, len(asked.data)))
        data = asked.data[: random.randrange(1, cut + 1)]
        if large or random.random() < 0.3:
            data = asked.data
        await connection.send(data)
        await _sleep(0.1)
        client.books.excused += 1
        with contextlib.suppress(OSError):  # it may have been refused, and reset
            if large:
                await connection.receive()
            connection.leave(random.choice(_LEAVES))


async def fresh(client: Client) -> None:
    """A connection for one request; some say that it is the last."""
    with await client.connect() as connection:
        asked = _small(client, _family(), is_last=random.random() < 0.5)
        await client.exchange(connection, asked)


async def idle(client: Client) -> None:
    """A connection that rests, and is as good as ever afterwards."""
    with await client.connect() as connection:
        if await client.exchange(connection, _small(client, "ok")):
            await asyncio.sleep(random.uniform(3, 20))
            await client.exchange(connection, _small(client, _family()), keeps=True)


@dataclass(frozen=True)
class Kind:
    """``clients`` of it on each way, each with ``pause`` seconds between its rounds."""

    name: str
    clients: int
    pause: float
    round: Callable[[Client], Awaitable[None]]


KINDS = (
    Kind("keep-alive", 4, 0.2, keep_alive),
    Kind("pipeline", 2, 0.5, pipeline),
    Kind("upload", 2, 1, upload),
    Kind("large", 1, 1, large),
    Kind("slow-reader", 2, 1, slow_reader),
    Kind("slow-sender", 3, 0.5, slow_sender),
    Kind("leaver", 2, 0.3, leaver),
    Kind("fresh", 3, 0.2, fresh),
    Kind("idle", 10, 1, idle),
)
