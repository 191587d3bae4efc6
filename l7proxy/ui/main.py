"""The server's life: listen, say where, serve until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import uvloop

from l7proxy.limits import Limits
from l7proxy.proxy.ports import Endpoint
from l7proxy.ui import files
from l7proxy.ui.agent import Agent
from l7proxy.ui.server import Server


def run(listen: Endpoint, admin_socket: Path, started: Callable[[str], None]) -> None:
    """Serve on ``listen`` until SIGINT or SIGTERM; ``started`` is called with the page's URL.

    Raises OSError if it cannot listen there.
    """
    uvloop.run(_run(listen, admin_socket, started))


async def _run(listen: Endpoint, admin_socket: Path, started: Callable[[str], None]) -> None:
    limits = Limits()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    pages = Server(Agent(admin_socket, limits), files.load(), limits)
    server = await asyncio.start_server(
        pages.serve, str(listen.address), listen.port, limit=limits.head_bytes
    )
    port = server.sockets[0].getsockname()[1]
    started(f"http://{Endpoint(listen.address, port)}/")
    await stop.wait()
    server.close()
    pages.close()
