"""A head that the kernel has read before is not read again; one that differs from it anywhere is.

Seen to fail: without ``known->size`` in ``recall`` of bpf/recall.h, what is new at a place whose
last head had the same beginning; without the comparison of bytes, of ``id``; with
``glance`` not cleared in ``walk_enter``, what is kept of several heads in one message.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest

from tests.kernel_road.answers import Answers
from tests.kernel_road.test_in_place import REFUSAL
from tests.kernel_road.town import RULES, WAYS, Town, get

pytestmark = pytest.mark.needs_ebpf

TIMES = 4
"""Until a head is known: to be seen once, then to be read, on each processor."""


@pytest.fixture(autouse=True)
def records_taken(town: Town) -> Iterator[None]:
    """So many requests would leave no room for those of other modules."""
    yield
    town.covered.ask("records")


@pytest.fixture
def sock(town: Town, way: str) -> Iterator[socket.socket]:
    with town.recorder(), town.connect(way) as made:
        yield made


def asked(sock: socket.socket, head: bytes) -> int:
    sock.sendall(head)
    return Answers(sock).next().status


def with_team(team: str, padding: int = 0) -> bytes:
    """What differs comes late; ``padding`` makes the head larger than one piece of it."""
    fields = f"X-Padding: {'x' * padding}\r\nX-Team: {team}\r\n\r\n".encode()
    return get("/ok").removesuffix(b"\r\n") + fields


@pytest.mark.parametrize("way", WAYS)
def test_each_of_many_is_decided_for_itself(town: Town, sock: socket.socket) -> None:
    """Of the same length, more than there are places for."""
    targets = [f"/{name}{number}" for number in range(100, 300) for name in ("ok-", "no-")]
    chance = random.Random(3)
    for _ in range(TIMES):
        chance.shuffle(targets)
        statuses = [asked(sock, get(target)) for target in targets]
        assert statuses == [200 if target.startswith("/ok") else 403 for target in targets]


@pytest.fixture
def teams(town: Town) -> Iterator[None]:
    town.apply("[{method: GET, path: /ok, headerMatches: [{name: X-Team, value: red}]}]")
    yield
    town.apply(RULES)


@pytest.mark.usefixtures("teams")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("padding", [0, 100, 500, 2000])
def test_what_differs_late_differs(town: Town, sock: socket.socket, padding: int) -> None:
    for _ in range(TIMES):
        assert [asked(sock, with_team("red", padding)) for _ in range(TIMES)] == [200] * TIMES
        assert asked(sock, with_team("reb", padding)) == 403
        assert asked(sock, with_team("red", padding)) == 200
        assert [asked(sock, with_team("blu", padding)) for _ in range(TIMES)] == [403] * TIMES


@pytest.mark.parametrize("way", WAYS)
def test_policy_decides_anew_what_is_known(town: Town, sock: socket.socket) -> None:
    other = '[{method: "GET|HEAD|POST|PUT", path: "/no.*"}]'
    try:
        for rules, statuses in ((RULES, [200, 403]), (other, [403, 200]), (RULES, [200, 403])):
            town.apply(rules)
            for _ in range(TIMES):
                assert [asked(sock, get("/ok-1")), asked(sock, get("/no-1"))] == statuses
    finally:
        town.apply(RULES)


@pytest.mark.parametrize("way", WAYS)
def test_heads_that_share_a_message(town: Town, sock: socket.socket) -> None:
    """What a message begins with is not what it ends with."""
    for _ in range(TIMES):
        sock.sendall(get("/ok-1") + get("/ok-2", "HEAD") + get("/ok-3"))
        answers = Answers(sock)
        found = [answers.next(method).said for method in ("GET", "HEAD", "GET")]
        assert found == [(200, b"/ok-1\n"), (200, b""), (200, b"/ok-3\n")]
        assert asked(sock, get("/ok-1")) == 200


def test_answers_of_the_same_size(town: Town) -> None:
    """Where one ends is known, whatever came before: a refusal gets its turn behind each."""
    whole = {
        f"/ok-{size}": b"HTTP/1.1 200 OK\r\nServer: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (b"s" * (80 - size), size, b"x" * size)
        for size in (40, 41, 42)
    }
    with town.recorder(lambda request: [whole[request.target]]), town.connect("redirect") as sock:
        for target in [*whole, *reversed(whole)] * TIMES:
            sock.sendall(get(target) + get("/no"))
            answers = Answers(sock)
            assert len(answers.next().body) == int(target.removeprefix("/ok-"))
            assert answers.next().said == REFUSAL
