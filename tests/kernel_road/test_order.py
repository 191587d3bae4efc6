"""Answers come in the order of their requests, whoever gives them.

Seen to fail: with ``!owed(ledger)`` left out where bpf/request.c answers a refusal at once, and
with ``!waiting`` left out where bpf/arrival.c does.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterable, Sequence

import pytest

from tests.datapath.covered import PATIENCE
from tests.kernel_road.answers import Answers
from tests.kernel_road.recorder import Answer, Request, plain
from tests.kernel_road.town import WAYS, Town

pytestmark = pytest.mark.needs_ebpf

REFUSAL = 403, b"Access denied\r\n"


def get(target: str, method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


class Slow:
    """A server that answers each request after another sign."""

    def __init__(self, answer: Answer = plain) -> None:
        self._answer = answer
        self._signs = threading.Semaphore(0)

    def __call__(self, request: Request) -> Iterable[bytes]:
        return self._answer(request) if self._signs.acquire(timeout=PATIENCE) else []

    def go(self, number: int = 1) -> None:
        for _ in range(number):
            self._signs.release()


def is_silent(sock: socket.socket) -> bool:
    """Whether there is nothing to read yet."""
    return not select.select([sock], [], [], 0)[0]


def expected(way: str, paths: Sequence[str]) -> list[tuple[int, bytes]]:
    """By TCP a refusal ends the connection."""
    found = [(200, f"{path}\n".encode()) if path.startswith("/ok") else REFUSAL for path in paths]
    return found[: found.index(REFUSAL) + 1] if way == "tcp" and REFUSAL in found else found


def served(way: str, paths: Sequence[str]) -> int:
    """How many requests come to the server."""
    return sum(status == 200 for status, _ in expected(way, paths))


PIPELINES = {
    "none": "ooooo",
    "first": "-oooo",
    "middle": "oo-oo",
    "last": "oooo-",
    "two at the beginning": "--ooo",
    "two in the middle": "oo--o",
    "every second": "o-o-o",
    "ends": "-ooo-",
    "all": "----",
    "all but the last": "----o",
}


def paths_of(pattern: str) -> list[str]:
    return [("/ok-%d" if each == "o" else "/no-%d") % at for at, each in enumerate(pattern)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("pattern", PIPELINES.values(), ids=PIPELINES)
def test_pipeline(town: Town, way: str, together: bool, pattern: str) -> None:
    """In one segment, and a send() for each; the server answers when everything was sent."""
    paths = paths_of(pattern)
    server = Slow()
    with town.recorder(server) as recorder, town.connect(way) as sock:
        answers = Answers(sock)
        for part in [b"".join(map(get, paths))] if together else map(get, paths):
            with contextlib.suppress(OSError):
                sock.sendall(part)
        if served(way, paths):
            recorder.requests(1)
        wanted = expected(way, paths)
        before = next((at for at, each in enumerate(wanted) if each != REFUSAL), len(wanted))
        assert answers.until_refused(before) == wanted[:before]
        assert before == len(wanted) or is_silent(sock), "a refusal overtook an owed answer"
        server.go(len(paths))
        assert answers.until_refused(len(wanted) - before) == wanted[before:]
        assert [request.target for request in recorder.requests(served(way, paths))] == [
            path for path, (status, _) in zip(paths, wanted, strict=False) if status == 200
        ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("refused", [(), (20,), (0, 25, 49)], ids=["none", "one", "three"])
def test_long_pipeline(town: Town, way: str, together: bool, refused: tuple[int, ...]) -> None:
    paths = paths_of("".join("-" if number in refused else "o" for number in range(50)))
    server = Slow()
    with town.recorder(server), town.connect(way) as sock:
        for part in [b"".join(map(get, paths))] if together else map(get, paths):
            with contextlib.suppress(OSError):
                sock.sendall(part)
        server.go(len(paths))
        assert Answers(sock).until_refused(50) == expected(way, paths)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("refused", [5, 20])
def test_more_refusals_than_one_message_may_have(town: Town, way: str, refused: int) -> None:
    """The connection may end; what was answered before is right."""
    paths = paths_of("oo" + "-o" * refused)
    with town.recorder(), town.connect(way) as sock:
        answers = Answers(sock)
        sock.sendall(b"".join(map(get, paths)))
        found = []
        with contextlib.suppress(EOFError):
            found += answers.until_refused(2)
            found += answers.until_refused(len(paths) - 2)
        assert found == expected("redirect", paths)[: len(found)]


@pytest.mark.parametrize("way", WAYS)
def test_refusal_while_an_answer_is_under_way(town: Town, way: str) -> None:
    """The refused request comes between two pieces of what is owed."""
    middle = threading.Event()

    def halting(request: Request) -> Iterable[bytes]:
        (whole,) = plain(request)
        yield whole[:-3]
        assert middle.wait(PATIENCE)
        yield whole[-3:]

    with town.recorder(halting) as recorder, town.connect(way) as sock:
        sock.sendall(get("/ok-1"))
        recorder.requests(1)
        sock.sendall(get("/no"))
        middle.set()
        found = Answers(sock).until_refused(2)
    assert found == expected(way, ["/ok-1", "/no"])


@pytest.mark.parametrize("way", ["redirect"])
def test_blocked_server_does_not_notice_a_refusal(town: Town, way: str) -> None:
    """Its recv() goes on waiting. By TCP it says EAGAIN: a named limit, see ARCHITECTURE.md."""
    with town.recorder() as recorder:
        for _ in range(20):
            with town.connect(way) as sock:
                sock.sendall(get("/ok-1"))
                assert Answers(sock).next().status == 200
                sock.sendall(get("/no"))
                assert Answers(sock).next().status == 403
        assert sum(record.interrupted for record in recorder.ended(20)) == 0
