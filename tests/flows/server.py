"""Answers /ok..., and hangs up on everything else. Needs no package.

``python server.py HOST PORT...``
"""

from __future__ import annotations

import asyncio
import sys

LIMIT = 1 << 16


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n")[0].split(b" ")
            _, found, rest = head.lower().partition(b"content-length:")
            if found:
                await reader.readexactly(int(rest.split(b"\r\n")[0]))
            if not target.startswith(b"/ok/"):
                break
            body = b"" if method == b"HEAD" else target
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(target), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(host: str, ports: list[int]) -> None:
    """Until it is stopped."""
    servers = [await asyncio.start_server(serve, host, port, limit=LIMIT) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], [int(port) for port in sys.argv[2:]]))
