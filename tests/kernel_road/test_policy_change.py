"""An open connection's next request is decided by the policy that is in force when it begins.

Seen to fail: with the road taken once for each connection in ``refresh()`` of bpf/judge.h, what
comes after a change; with ``_reset_stale`` left out of l7proxy/datapath/datapath.py, the changes of
road.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from l7proxy.demo.pods import Node
from tests.kernel_road.answers import Answers
from tests.kernel_road.recorder import Recorder
from tests.kernel_road.town import RULES, WAYS, Town, get

pytestmark = pytest.mark.needs_ebpf

CLOSED = '[{method: "GET|HEAD|POST|PUT", path: "/other.*"}]'
ALWAYS = '[{method: "GET|HEAD|POST|PUT", path: "/(ok|other).*"}]'
MANY = f"[{', '.join(f'{{path: /ok-{number}}}' for number in range(300))}]"
"""Does not fit into tables of the smallest size."""


@pytest.fixture(autouse=True)
def usual_rules(town: Town) -> Iterator[None]:
    yield
    town.apply(RULES)


def asked(sock: socket.socket, target: str) -> int | str:
    """The status of an answer, or what became of the connection."""
    try:
        sock.sendall(get(target))
        return Answers(sock).next().status
    except (OSError, EOFError):
        return "ended"


@pytest.mark.parametrize("way", WAYS)
def test_open_connection_loses_what_policy_takes_away(town: Town, way: str) -> None:
    with town.recorder() as server, town.connect(way) as sock:
        assert [asked(sock, "/ok-1") for _ in range(3)] == [200] * 3
        town.apply(CLOSED)
        assert asked(sock, "/ok-2") == 403
        assert asked(sock, "/other") == 200
        assert [request.target for request in server.requests(4)] == ["/ok-1"] * 3 + ["/other"]


@pytest.mark.parametrize("way", WAYS)
def test_open_connection_gets_what_policy_gives(town: Town, way: str) -> None:
    with town.recorder(), town.connect(way) as sock:
        assert asked(sock, "/ok-1") == 200
        assert asked(sock, "/other") == 403
        town.apply(ALWAYS)
        assert asked(sock, "/other") == 200
        town.apply(MANY)
        assert asked(sock, "/ok-299") == 200
        assert asked(sock, "/other") == 403


@pytest.mark.parametrize("way", WAYS)
def test_many_changes_on_one_connection(town: Town, way: str) -> None:
    """Tables are written over while the connection is open."""
    with town.recorder(), town.connect(way) as sock:
        for rules in (ALWAYS, MANY, RULES, MANY, ALWAYS, RULES) * 3:
            town.apply(rules)
            assert asked(sock, "/ok-1") == 200
            assert asked(sock, "/no") == 403
        town.apply(CLOSED)
        assert asked(sock, "/ok-1") == 403


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("changes", [1, 2, 5])
@pytest.mark.parametrize("cut", [3, 10, 20])
def test_change_while_a_head_is_half_sent(town: Town, way: str, changes: int, cut: int) -> None:
    """What neither policy allows is never let through, and the next request has the new one."""
    for target in ("/ok-2", "/secret"):
        town.apply(RULES)
        with town.recorder() as server, town.connect(way) as sock:
            assert asked(sock, "/ok-1") == 200
            request = get(target)
            sock.sendall(request[:cut])
            half = len(get("/ok-1")) + cut
            server.wait(lambda records, half=half: len(records[0].data) == half, "the first half")
            for number in range(changes):
                town.apply(CLOSED if number % 2 == 0 else '[{path: "/others.*"}]')
            with contextlib.suppress(OSError):
                sock.sendall(request[cut:])
            found: int | str = "ended"
            with contextlib.suppress(OSError, EOFError):
                found = Answers(sock).next().status
            if found == 200:
                assert target == "/ok-2"
                assert asked(sock, "/ok-3") == 403
            record = server.records[0]
        assert not record.has_request(b"/secret")
        assert not record.has_request(b"/ok-3")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chunked", [False, True])
def test_change_while_content_is_under_way(town: Town, way: str, chunked: bool) -> None:
    """The request was allowed when it began; it is the next that is not."""
    halves = (b"5\r\nfirst\r\n", b"6\r\nsecond\r\n0\r\n\r\n") if chunked else (b"first", b"second")
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 11"
    with town.recorder() as server, town.connect(way) as sock:
        sock.sendall(f"PUT /ok-1 HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode() + halves[0])
        server.wait(lambda records: records and records[0].data.endswith(halves[0]), "content")
        town.apply(CLOSED)
        sock.sendall(halves[1])
        assert Answers(sock).next().status == 200
        assert server.requests(1)[0].body == b"firstsecond"
        assert asked(sock, "/ok-2") == 403


@pytest.mark.parametrize("way", WAYS)
def test_rules_go_and_come_back(town: Town, way: str) -> None:
    """A connection that nobody has judged for a while is not taken for judged again."""
    with town.recorder() as server, town.connect(way) as sock:
        assert asked(sock, "/ok-1") == 200
        town.covered.apply("")
        assert asked(sock, "/free") == 200
        town.apply(RULES)
        assert asked(sock, "/secret") in (403, "ended")
        assert not server.records[0].has_request(b"/secret")


@pytest.mark.parametrize("way", WAYS)
def test_rules_that_need_the_proxy_take_the_connections_along(town: Town, way: str) -> None:
    """At once, idle ones too; new ones go to the proxy."""
    proxied = RULES + ", datapath: proxy"
    with town.recorder(), town.connect(way) as sock:
        assert asked(sock, "/ok-1") == 200
        town.apply(proxied)
        assert is_over(sock)
        with town.connect(way) as fresh:
            said = json.loads(Answers(fresh).rest())
            assert said["server"] == "default/server"
        town.apply(RULES)
        with town.connect(way) as fresh:
            assert asked(fresh, "/ok-1") == 200
            assert asked(fresh, "/no") == 403


def is_over(sock: socket.socket) -> bool:
    """Whether the connection ends, without anything being sent."""
    with contextlib.suppress(ConnectionError):
        return sock.recv(1) == b""
    return True


@pytest.mark.parametrize("way", WAYS)
def test_agent_that_is_killed_leaves_its_decisions(town: Town, way: str) -> None:
    """For open connections and for new ones; the next agent takes them over."""
    listener = town.server.listen(town.server.ip, 8000)
    with Recorder(listener) as server, contextlib.ExitStack() as stack:
        old = stack.enter_context(town.connect(way))
        assert asked(old, "/ok-old") == 200
        town.covered.kill()
        for number in range(2):
            fresh = stack.enter_context(town.connect(way))
            for sock in (old, fresh):
                assert asked(sock, f"/ok-{number}") == 200
                assert asked(sock, "/no") == 403
            if number == 0:
                assert town.covered.start(), "it was loaded anew"
                town.covered.apply()
                old = fresh
        town.apply(CLOSED)
        assert [asked(sock, "/ok-late") for sock in (old, fresh)] == [403, 403]
        assert not any(record.has_request(b"/no") for record in server.records)
        assert not any(record.has_request(b"/ok-late") for record in server.records)


@pytest.mark.parametrize("way", WAYS)
def test_connection_from_before_the_first_policy(compiled: Path, way: str) -> None:
    """Made while nothing was attached, and with half a request under way."""
    with Node("first", compiled) as node:
        town = Town(node, None)
        with (
            Recorder(town.server.listen(town.server.ip, 8000)) as server,
            town.connect(way) as idle,
            town.connect(way) as busy,
        ):
            busy.sendall(get("/secret")[:10])
            server.wait(lambda records: any(each.data for each in records), "half a request")
            town.apply(RULES)
            for sock, data in ((idle, get("/secret")), (busy, get("/secret")[10:])):
                with contextlib.suppress(OSError):
                    sock.sendall(data)
                assert is_over(sock)
            assert not any(record.has_request(b"/secret") for record in server.records)
            with town.connect(way) as fresh:
                assert asked(fresh, "/ok-1") == 200
                assert asked(fresh, "/no") == 403
        town.covered.end()
