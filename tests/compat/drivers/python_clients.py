"""requests, httpx and aiohttp doing a plan: python python_clients.py CLIENT PLAN.json."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PAUSE, TIMEOUT, A_LITTLE = 0.05, 10, 1000


def content(size):
    return b"".join(b"%08d\n" % number for number in range(size // 9 + 1))[:size]


def answer(status, headers, body, early=False):
    """Of an answer that was left early only the head is told."""
    told = {"status": status, "headers": [[name.lower(), value] for name, value in headers]}
    if not early:
        told |= {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    return told


def parts(exchange) -> Iterator[bytes]:
    body = content(exchange["body"])
    third = len(body) // 3 + 1
    for at in range(0, len(body), third):
        if exchange["slow"]:
            time.sleep(PAUSE)
        yield body[at : at + third]


def payload(exchange):
    if exchange["chunked"]:
        return parts(exchange)
    return content(exchange["body"]) or None


def with_requests():
    import requests

    session = requests.Session()

    def ask(url, exchange):
        with session.request(
            exchange["method"], url, headers=exchange["headers"], data=payload(exchange),
            allow_redirects=False, stream=True, timeout=TIMEOUT,
        ) as found:  # fmt: skip
            if exchange["early"]:
                found.raw.read(A_LITTLE)
                return answer(found.status_code, found.raw.headers.items(), b"", early=True)
            body = found.raw.read(decode_content=False)
            return answer(found.status_code, found.raw.headers.items(), body)

    return ask


def with_httpx():
    import httpx

    client = httpx.Client(timeout=TIMEOUT, trust_env=False)

    def ask(url, exchange):
        with client.stream(
            exchange["method"], url, headers=exchange["headers"], content=payload(exchange)
        ) as found:
            if exchange["early"]:
                next(found.iter_raw(A_LITTLE))
                return answer(found.status_code, found.headers.multi_items(), b"", early=True)
            body = b"".join(found.iter_raw())
            return answer(found.status_code, found.headers.multi_items(), body)

    return ask


async def with_aiohttp(plan):
    import aiohttp
    from yarl import URL

    async def slow(exchange):
        for part in parts({**exchange, "slow": False}):
            await asyncio.sleep(PAUSE if exchange["slow"] else 0)
            yield part

    async def ask(session, url, exchange):
        if exchange["websocket"]:
            return await talk(session, url)
        data = slow(exchange) if exchange["chunked"] else payload(exchange)
        async with session.request(
            exchange["method"], URL(url, encoded=True), headers=exchange["headers"], data=data,
            allow_redirects=False, expect100=exchange["expect"],
        ) as found:  # fmt: skip
            if exchange["early"]:
                await found.content.readexactly(A_LITTLE)
                found.close()
                return answer(found.status, found.headers.items(), b"", early=True)
            return answer(found.status, found.headers.items(), await found.read())

    async def talk(session, url):
        async with session.ws_connect(url) as socket:
            got = []
            for word in ("hello", "", "w" * 100):
                await socket.send_str(word)
                got.append((await socket.receive()).data)
        return answer(101, [], "|".join(got).encode())

    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    async with aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as session:
        for server, base, exchange in tasks(plan):
            found, error = [], None
            try:
                for _ in range(exchange["times"]):
                    found.append(await ask(session, base + exchange["target"], exchange))
            except Exception as problem:
                error = type(problem).__name__
            tell(server, exchange, found, error)


def tasks(plan):
    for server, base in plan["servers"].items():
        for exchange in plan["exchanges"]:
            yield server, base, exchange


def tell(server, exchange, found, error):
    told = {"server": server, "exchange": exchange["name"], "answers": found, "error": error}
    print(json.dumps(told))


def main(client, plan):
    if client == "aiohttp":
        asyncio.run(with_aiohttp(plan))
        return
    ask = {"requests": with_requests, "httpx": with_httpx}[client]()
    for server, base, exchange in tasks(plan):
        found, error = [], None
        try:
            for _ in range(exchange["times"]):
                found.append(ask(base + exchange["target"], exchange))
        except Exception as problem:
            error = type(problem).__name__
        tell(server, exchange, found, error)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))
