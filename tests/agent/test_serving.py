from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import signal
from collections import Counter
from collections.abc import Callable

import pytest

from l7proxy.cli import admin
from tests.agent.nodes import INTRUDER, Backend, Node, eventually, get, gone, kill


def test_requests_are_decided_and_logged(node: Node, backend: Backend) -> None:
    assert node.get("/users?page=1") == 403
    assert node.get("/users") == 200
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        node.get("/users", INTRUDER)

    assert backend.seen == ["/users"]
    eventually(lambda: len(node.log()) == 2)
    assert [
        (flow["source"]["pod_name"], flow["verdict"], flow["l7"]["http"]["code"])
        for flow in node.log()
    ] == [("frontend", "DROPPED", 403), ("frontend", "FORWARDED", 200)]
    eventually(lambda: node.metric("hubble_drop_total", protocol="TCP") == 1)
    assert node.metric("hubble_drop_total", reason="l4-default-deny", protocol="TCP") == 1


def test_an_audited_policy_is_recorded_and_not_enforced(
    prepare: Callable[..., Node], backend: Backend
) -> None:
    node = prepare()
    text = node.policy("/users").replace("spec:\n", "spec:\n  audit: true\n")
    (node.policies / "users.yaml").write_text(text)
    node.start()
    assert node.get("/users") == 200
    assert node.get("/nothing") == 200
    assert node.get("/users", INTRUDER) == 200

    assert backend.seen == ["/users", "/nothing", "/users"]
    eventually(lambda: len(node.log()) == 3)
    assert [
        (flow["source"]["pod_name"], flow["verdict"], flow["extensions"]["value"]["reason"])
        for flow in node.log()
    ] == [
        ("frontend", "FORWARDED", "no-policy"),
        ("frontend", "AUDIT", "no-rule-matched"),
        ("intruder", "AUDIT", "l4-default-deny"),
    ]
    eventually(lambda: node.metric("hubble_policy_verdicts_total", action="audit") == 2)
    assert node.metric("hubble_drop_total") == 0
    (policy,) = admin.ask(node.folder / "run" / "admin.sock", "/policies")["policies"]
    assert policy["audit"]


def test_every_request_is_counted_once_over_two_workers(prepare: Callable[..., Node]) -> None:
    node = prepare(workers=2).start()
    connections = [node.connect() for _ in range(12)]
    answers: Counter[int] = Counter()
    for connection in connections:
        for path in ("/users", "/nothing", "/users"):
            answers[get(connection, path)] += 1
    for connection in connections:
        connection.close()

    assert answers == {200: 24, 403: 12}
    eventually(lambda: node.metric("hubble_http_requests_total") >= 36)
    for status, count in answers.items():
        assert node.metric("hubble_http_requests_total", status=str(status)) == count
    assert node.metric("l7proxy_requests_total", rule="get-0", verdict="FORWARDED") == 24
    assert node.metric("hubble_drop_total", reason="no-rule-matched", protocol="HTTP") == 12
    assert node.metric("cilium_policy_l7_total", rule="received") == 36
    assert node.metric("l7proxy_workers") == 2
    shares = [path.read_text() for path in (node.folder / "run" / "metrics").glob("worker-*.json")]
    assert len(shares) == 2


def test_a_killed_worker_is_replaced_and_its_counts_stay(prepare: Callable[..., Node]) -> None:
    node = prepare().start()
    assert node.get("/users") == 200
    eventually(lambda: node.metric("hubble_http_requests_total") == 1)
    [former] = node.worker_pids()
    kept = node.connect()
    assert get(kept, "/users") == 200

    kill(former)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        get(kept, "/users")
    kept.close()
    eventually(lambda: node.worker_pids() != [former] and node.status()["state"] == "ready")

    assert node.get("/users") == 200
    assert node.get("/other") == 403
    eventually(lambda: node.metric("hubble_http_requests_total", status="403") == 1)
    assert node.metric("hubble_http_requests_total", status="200") >= 2
    assert node.metric("l7proxy_worker_restarts_total") == 1
    assert node.metric("l7proxy_exchanges_in_progress") == 0
    assert "worker 0 was killed by signal 9: restarting it" in node.errors()


def test_a_replacement_serves_by_the_policy_in_force(node: Node) -> None:
    node.allow("/new")
    node.in_force(2)
    [former] = node.worker_pids()
    kill(former)
    eventually(lambda: node.worker_pids() != [former] and node.status()["state"] == "ready")

    assert (node.get("/new"), node.get("/users")) == (200, 403)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_progress_is_finished_before_the_agent_ends(
    node: Node, backend: Backend, number: signal.Signals
) -> None:
    backend.hold.clear()
    with contextlib.closing(node.connect()) as busy, contextlib.closing(node.connect()) as late:
        busy.request("GET", "/users")
        assert backend.holding.wait(30)
        pids = node.worker_pids()
        node.signal(number)
        eventually(lambda: refused(late))
        backend.hold.set()
        response = busy.getresponse()

        assert (response.status, response.read()) == (200, b"GET /users")
    assert node.wait() == 0
    assert all(gone(pid) for pid in pids)
    assert node.errors().splitlines()[-1] == "l7proxy: stopped"
    assert not (node.folder / "run" / "admin.sock").exists()


def refused(connection: http.client.HTTPConnection) -> bool:
    connection.close()
    try:
        connection.connect()
    except ConnectionRefusedError:
        return True
    return False


def test_asked_twice_it_does_not_wait(node: Node, backend: Backend) -> None:
    backend.hold.clear()
    with contextlib.closing(node.connect()) as busy:
        busy.request("GET", "/users")
        assert backend.holding.wait(30)
        node.signal(signal.SIGTERM)
        eventually(lambda: "draining" in node.errors())
        node.signal(signal.SIGTERM)

        assert node.wait() == 0
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            busy.getresponse()


def is_refused(connection: http.client.HTTPConnection) -> bool:
    with contextlib.closing(connection):
        try:
            connection.connect()
        except ConnectionRefusedError:
            return True
        return False


def test_a_killed_agent_takes_its_workers_along_and_the_next_one_starts(node: Node) -> None:
    [worker] = node.worker_pids()
    late = node.connect()
    with contextlib.closing(node.connect()) as kept:
        assert get(kept, "/users") == 200
        node.signal(signal.SIGKILL)
        node.wait()
        eventually(lambda: gone(worker))

        with pytest.raises((ConnectionError, http.client.HTTPException)):
            get(kept, "/users")
        # The leader of a process's threads is gone a moment before the last of them.
        eventually(lambda: is_refused(late))

    node.start()
    assert node.get("/users") == 200


def test_a_reader_of_the_log_that_sleeps_stops_neither_serving_nor_the_agent(
    prepare: Callable[..., Node],
) -> None:
    node = prepare()
    asleep, output = os.pipe()
    fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, 4096)
    try:
        node.spawn_into(output, output)
        eventually(node.answers)
        with contextlib.closing(node.connect()) as connection:
            assert [get(connection, "/users") for _ in range(200)] == [200] * 200
        node.allow("/new")
        node.in_force(2)
        (node.policies / "bad.yaml").write_text("kind: Nonsense\n")
        eventually(lambda: node.status()["errors"])

        assert node.get("/new") == 200
        assert node.stop() == 0
    finally:
        os.close(output)
        os.close(asleep)
