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
from tests.kernel_road.town import WAYS, Town, get

pytestmark = pytest.mark.needs_ebpf

REFUSAL = 403, b"Access denied\r\n"


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
    """Whether nothing has come yet but the end of the connection."""
    with contextlib.suppress(ConnectionError):
        return not select.select([sock], [], [], 0)[0] or not sock.recv(1, socket.MSG_PEEK)
    return True


def expected(paths: Sequence[str]) -> list[tuple[int, bytes]]:
    return [(200, f"{path}\n".encode()) if path.startswith("/ok") else REFUSAL for path in paths]


def possible(way: str, paths: Sequence[str], *, together: bool) -> list[list[tuple[int, bytes]]]:
    """By TCP a refusal ends the connection if its request shares a segment, or if an allowed one
    comes before it has left. Those that are sent one by one without waiting may do so or not."""
    whole = expected(paths)
    ends = [whole[: at + 1] for at, each in enumerate(whole) if each == REFUSAL]
    if way == "redirect" or not ends:
        return [whole]
    return ends[:1] if together else [*ends, whole]


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
        before = next((at for at, path in enumerate(paths) if path.startswith("/ok")), len(paths))
        found = answers.until_refused(before)
        if before < len(paths) and not answers.is_last:
            recorder.wait(lambda records: any(each.requests or each.ended for each in records))
            assert is_silent(sock), "a refusal overtook an owed answer"
        server.go(len(paths))
        found += answers.until_refused(len(paths) - len(found))
        assert found in possible(way, paths, together=together)
        served = [path for path, each in zip(paths, found, strict=False) if each != REFUSAL]
        assert [request.target for request in recorder.requests(len(served))] == served
        recorder.wait(bool, "the connection")
    assert recorder.records[0].is_only(map(get, served))


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
        assert Answers(sock).until_refused(50) in possible(way, paths, together=together)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("refused", [5, 20])
def test_more_refusals_than_one_message_may_have(town: Town, way: str, refused: int) -> None:
    """The connection may end; what was answered before is right."""
    paths = paths_of("oo" + "-o" * refused)
    with town.recorder(), town.connect(way) as sock:
        answers = Answers(sock)
        sock.sendall(b"".join(map(get, paths)))
        found = answers.until_refused(len(paths))
        assert found == expected(paths)[: len(found)]


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
        answers = Answers(sock)
        assert answers.until_refused(2) == expected(["/ok-1", "/no"])
        sock.sendall(get("/ok-2"))
        assert answers.until_refused(1) == expected(["/ok-2"])


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
