"""Answers every request with its own target and content, and writes down what should not have come.

``python server.py HOST LOG PORT...``. Needs no package.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

LIMIT = 1 << 16
BACKLOG = 4096


class Server:
    """``log`` gets the target of every request that policy refuses."""

    def __init__(self, log: Path) -> None:
        self._log = log

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.lstrip(b"\r\n").split(b" ")[1]
                if not target.startswith(b"/ok/"):
                    with self._log.open("ab") as log:
                        log.write(target + b"\n")
                _, found, rest = head.lower().partition(b"content-length:")
                content = b""
                if found:
                    content = await reader.readexactly(int(rest.split(b"\r\n")[0]))
                length = b"Content-Length: %d\r\n" % (len(target) + len(content))
                writer.write(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n" + target + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, IndexError):
            pass
        finally:
            writer.close()


async def main(host: str, log: Path, ports: list[int]) -> None:
    """Until it is stopped."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = Server(log)
    made = [
        await asyncio.start_server(server.serve, host, port, limit=LIMIT, backlog=BACKLOG)
        for port in ports
    ]
    await asyncio.gather(*(each.serve_forever() for each in made))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), [int(port) for port in sys.argv[3:]]))
