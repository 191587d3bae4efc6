"""Flow records on their way from workers, and from producers in the agent, to readers."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from l7proxy.agent.flows import Flows
from l7proxy.agent.httpd import Answer
from l7proxy.agent.lines import LineReader
from l7proxy.cli import admin
from l7proxy.cli.errors import CommandError
from l7proxy.limits import Limits
from l7proxy.observe.recorder import RecorderSettings
from tests.agent.nodes import PATIENCE, Node, eventually
from tests.observe.records import record


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Flows]:
    made = Flows(RecorderSettings("worker-1", log=str(tmp_path / "log")), Limits())
    yield made
    made.close()


def flows(node: Node, query: str = "") -> list[dict[str, Any]]:
    """What /flows answers, as flows."""
    with contextlib.closing(stream(node, query)) as response:
        return [json.loads(line)["flow"] for line in response.read().splitlines()]


def stream(node: Node, query: str = "") -> http.client.HTTPResponse:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(str(node.folder / "run" / "admin.sock"))
    sock.sendall(f"GET /flows{query} HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
    response = http.client.HTTPResponse(sock)
    response.begin()
    sock.close()
    return response


def urls(found: list[dict[str, Any]]) -> list[str]:
    return [each["l7"]["http"]["url"].rpartition("/")[2] for each in found]


def test_requests_of_every_worker_are_kept_and_shown(prepare: Callable[..., Node]) -> None:
    node = prepare(workers=2).start()
    assert flows(node) == []
    for number in range(8):
        assert node.get(f"/users?n={number}") == 403
    assert node.get("/users") == 200

    eventually(lambda: len(flows(node)) == 9)
    found = flows(node)
    assert sorted(urls(found)) == ["users", *(f"users?n={number}" for number in range(8))]
    assert {each["verdict"] for each in found} == {"DROPPED", "FORWARDED"}
    assert found[0]["extensions"]["value"]["road"] == "proxy"
    assert flows(node, "?last=2") == found[7:]
    assert flows(node, "?first=2") == found[:2]
    with contextlib.closing(stream(node, "?last=1")) as response:
        assert response.headers["Content-Type"] == "application/x-ndjson"


def test_flows_are_observed_without_an_access_log_and_are_its_lines_with_one(
    prepare: Callable[..., Node],
) -> None:
    for log in ("off", "stdout"):
        node = prepare(access_log=log).start()
        assert node.get("/users") == 200
        [seen] = eventually(lambda node=node: flows(node))
        assert node.stop() == 0
        assert node.log() == ([] if log == "off" else [seen])


def test_a_follower_gets_the_past_and_then_what_comes(node: Node) -> None:
    assert node.get("/users") == 200
    eventually(lambda: flows(node))
    with contextlib.closing(stream(node, "?follow=1&last=5")) as response:
        assert response.headers["L7proxy-Kept"] == "1"
        assert urls([json.loads(response.readline())["flow"]]) == ["users"]
        assert node.get("/other") == 403
        assert urls([json.loads(response.readline())["flow"]]) == ["other"]
    with contextlib.closing(stream(node, "?follow=1&last=0")) as response:
        assert node.get("/third") == 403
        assert urls([json.loads(response.readline())["flow"]]) == ["third"]


def test_followers_are_bounded_and_one_that_leaves_makes_room(
    prepare: Callable[..., Node],
) -> None:
    node = prepare(limits={"flow_followers": 2}).start()
    with contextlib.closing(stream(node, "?follow=1")):
        with contextlib.closing(stream(node, "?follow=1")):
            refused = stream(node, "?follow=1")
            assert refused.status == 503
            assert b"limits.flow_followers" in refused.read()
            assert flows(node, "?last=1") == []
            with pytest.raises(CommandError, match="lst is nothing"):
                admin.ask(node.folder / "run" / "admin.sock", "/flows?lst=1")
        eventually(lambda: stream_is_served(node))


def test_what_the_configuration_redacts_reaches_neither_log_nor_reader(
    prepare: Callable[..., Node],
) -> None:
    redact = {"headers": ["X-REQUEST-ID"], "query": True}
    node = prepare(flows={"redact": redact}).start()
    with contextlib.closing(node.connect()) as asks:
        asks.request("GET", "/users?token=s3cret", headers={"X-Request-Id": "s3cret"})
        asks.getresponse().read()
    [seen] = eventually(lambda: flows(node))
    assert node.stop() == 0

    assert "s3cret" not in str(seen)
    assert urls([seen]) == ["users"]
    assert node.log() == [seen]


def stream_is_served(node: Node) -> bool:
    with contextlib.closing(stream(node, "?follow=1")) as response:
        return response.status == 200


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"last": "x"}, "last must be a number"),
        ({"first": "-1"}, "first must be a number"),
        ({"last": "1", "first": "1"}, "first cannot be combined"),
        ({"first": "1", "follow": "1"}, "first cannot be combined"),
        ({"follow": "yes"}, "follow must be 0 or 1"),
        ({"lst": "1"}, "lst is nothing"),
    ],
)
def test_wrong_questions_are_told_what_is_wrong(
    inside: Flows, query: dict[str, str], message: str
) -> None:
    answer = inside.answer(query)
    assert isinstance(answer, Answer)
    assert answer.status == 400
    assert message in json.loads(answer.body)["error"]


def test_a_follower_that_does_not_read_loses_records_and_holds_nobody_up(
    prepare: Callable[..., Node],
) -> None:
    node = prepare(limits={"flow_queue_bytes": 65536}).start()
    with contextlib.closing(stream(node, "?follow=1")), contextlib.closing(node.connect()) as asks:
        # More than the queue, the pipe, the sockets and the agent's buffers hold.
        asks.connect()
        for _ in range(400):
            asks.request("GET", "/" + "x" * 2000)
            response = asks.getresponse()
            response.read()
            assert response.status == 403
        lost = eventually(lambda: node.metric("l7proxy_flow_events_lost_total"))
        assert lost < 400


def test_an_agent_that_does_not_read_slows_no_worker(prepare: Callable[..., Node]) -> None:

    node = prepare(limits={"flow_queue_bytes": 65536}).start()
    with contextlib.closing(node.connect()) as asks:
        asks.connect()
        node.signal(signal.SIGSTOP)
        try:
            for _ in range(200):
                asks.request("GET", "/" + "x" * 2000)
                asks.getresponse().read()
        finally:
            node.signal(signal.SIGCONT)
        assert eventually(lambda: node.metric("l7proxy_flow_events_lost_total")) > 0
        told = eventually(lambda: losses(node))
        kept = len(stream(node).read().splitlines())
        assert kept - len(told) + sum(told) == 200


def losses(node: Node) -> list[int]:
    """How many records readers are told to have missed."""
    found = [json.loads(line) for line in stream(node).read().splitlines()]
    return [int(each["lost_events"]["num_events_lost"]) for each in found if "lost_events" in each]


def test_a_producer_in_the_agent_writes_log_and_hub_alike(inside: Flows, tmp_path: Path) -> None:
    inside.record(record())
    inside.record(record(path=b"/second"))
    inside.close()

    assert (tmp_path / "log").read_bytes().splitlines(keepends=True) == inside.hub.last()
    assert [json.loads(line)["node_name"] for line in inside.hub.last()] == ["worker-1"] * 2
    assert inside.lost == 0


def test_lines_arrive_whole_whatever_the_pipe_makes_of_them() -> None:
    async def read() -> list[bytes]:
        found: list[bytes] = []
        reader, write = LineReader.open(found.extend)
        for piece in (b"one\ntw", b"o", b"\nthree\n", b"and no end"):
            os.write(write, piece)
            await asyncio.sleep(0)
        os.close(write)
        reader.close()
        reader.close()
        return found

    assert asyncio.run(read()) == [b"one\n", b"two\n", b"three\n"]
