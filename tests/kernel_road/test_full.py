"""More connections than the kernel has room for: the proxy takes them, none goes to the server
unjudged.

Seen to fail: without ``is_full`` in steer.c the server reads what is refused.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from l7proxy.demo.pods import Node
from tests.kernel_road.town import PORT, WAYS, Town, get

pytestmark = pytest.mark.needs_ebpf

ROOM = 32
MORE = 8


@pytest.fixture(scope="module")
def small(compiled: Path) -> Iterator[Town]:
    with Node("full", compiled) as node:
        made = Town(node, limits={"tracked_connections": ROOM})
        yield made
        made.covered.end()


@pytest.mark.parametrize("way", WAYS)
def test_what_does_not_fit_is_the_proxys(small: Town, way: str) -> None:
    for _ in range(2):  # those of the first time have made room
        with contextlib.ExitStack() as stack, small.covered.counted() as risen:
            recorder = stack.enter_context(small.recorder())
            connections = [stack.enter_context(small.connect(way)) for _ in range(ROOM)]
            more = [stack.enter_context(small.connect(way)) for _ in range(MORE)]
            for each in connections:
                each.sendall(get("/no"))
                assert each.recv(4096).startswith(b"HTTP/1.1 403 ")
            for each in more:
                assert said_of(each) == [small.server.ip, PORT]
            assert all(not record.data for record in recorder.records)
        assert risen["kernel_road_full"] == MORE, risen
        assert risen["connections_kernel"] == ROOM, risen


def said_of(connection: socket.socket) -> list[str | int]:
    """Whom the stand-in for the proxy takes the connection to be meant for."""
    with connection.makefile("rb") as lines:
        found: list[str | int] = json.loads(lines.readline())["destination"]
    return found
