from __future__ import annotations

import contextlib
import http.client
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from l7proxy.cli import admin
from l7proxy.cli.errors import CommandError
from tests.agent.nodes import Backend, Node, running


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A running node that no test changes."""
    with Backend() as backend, running(Node(tmp_path_factory.mktemp("n"), backend)) as node:
        yield node


def ask(node: Node, question: str, body: Any = None) -> Any:
    return admin.ask(node.folder / "run" / "admin.sock", question, body)


def test_status_tells_what_runs(asked: Node) -> None:
    status = asked.status()

    assert status["pid"] == asked.process.pid
    assert (status["node"], status["state"]) == ("test-node", "ready")
    assert status["datapath"] == {"mode": "userspace", "reason": "datapath: userspace is set"}
    assert (status["policy"]["policies"], status["policy"]["rules"]) == (1, 1)
    assert status["workloads"] == 3
    assert set(status["roads"]) == {"splice", "kernel", "proxy", "refused"}
    assert [worker["ready"] for worker in status["workers"]] == [True]
    assert (status["errors"], status["last_error"]) == ([], None)


def test_workloads_and_policies_are_listed(asked: Node) -> None:
    found = ask(asked, "/workloads")["workloads"]
    assert [each["name"] for each in found] == ["frontend", "intruder", "users"]
    assert found[2]["labels"] == {"app": "users"}
    assert found[2]["addresses"] == ["10.9.9.9"]

    [policy] = ask(asked, "/policies")["policies"]
    assert (policy["name"], policy["kind"], policy["rules"]) == ("users-api", "L7Policy", 1)
    assert policy["source"].startswith(f"{asked.policies / 'users.yaml'}:")


def test_explain_agrees_with_what_clients_get(asked: Node) -> None:
    for path, verdict, code in (("/users", "FORWARDED", 0), ("/other", "DROPPED", 22)):
        question = {
            "from": "app=frontend",
            "to": "app=users",
            "port": asked.backend.port,
            "method": "GET",
            "target": path,
            "headers": [],
        }
        answer = ask(asked, "/explain", question)

        assert (answer["answer"]["verdict"], answer["exit_code"]) == (verdict, code)
        assert asked.get(path) == (200 if code == 0 else 403)


@pytest.mark.parametrize("body", [[], {"from": 1}, {"port": "x"}])
def test_a_question_that_makes_no_sense_is_refused(asked: Node, body: Any) -> None:
    with pytest.raises(CommandError, match="the agent says"):
        ask(asked, "/explain", body)


def test_the_socket_is_its_owners(asked: Node) -> None:
    mode = (asked.folder / "run" / "admin.sock").stat().st_mode

    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"DELETE /status HTTP/1.1\r\n\r\n", 405),
        (b"GET /explain HTTP/1.1\r\n\r\n", 405),
        (b"POST /explain HTTP/1.1\r\nContent-Length: 3\r\n\r\nno!", 400),
        (b"POST /explain HTTP/1.1\r\nContent-Length: 9000\r\n\r\n" + b"[" * 9000, 400),
        (b"POST /explain HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST /explain HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 411),
        (b"POST /explain HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST /explain HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"GET /status HTTP/1.1\r\nX: " + b"x" * 40000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01\r\n\r\n", 400),
    ],
)
def test_the_admin_socket_survives_what_it_is_sent(
    asked: Node, request_text: bytes, status: int
) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(asked.folder / "run" / "admin.sock"))
        sock.sendall(request_text)
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert response.status == status
        assert response.headers["Content-Type"] == "application/json"
    assert asked.status()["state"] == "ready"


def test_scrapers_that_sleep_hold_nobody_up(asked: Node) -> None:
    host, _, port = asked.status()["metrics"].rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            sleeper = stack.enter_context(socket.create_connection((host, int(port))))
            sleeper.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert asked.get("/users") == 200
        assert asked.metric("l7proxy_policy_revision") == 1


def test_metrics_are_at_metrics_alone_and_in_the_format_asked_for(asked: Node) -> None:
    host, _, port = asked.status()["metrics"].rpartition(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port))) as connection:
        connection.request("GET", "/")
        assert connection.getresponse().status == 404
    with contextlib.closing(http.client.HTTPConnection(host, int(port))) as connection:
        wanted = "application/openmetrics-text; version=1.0.0"
        connection.request("GET", "/metrics", headers={"Accept": wanted})
        response = connection.getresponse()
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        assert response.read().endswith(b"# EOF\n")


def run_agent(config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "l7proxy", "run", "-c", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_a_second_agent_on_the_state_directory_is_refused(asked: Node) -> None:
    second = run_agent(asked.config)

    assert second.returncode == 1
    assert second.stderr == (
        f"l7proxy: {asked.folder / 'run'}: another agent runs on this state directory"
        f" (pid {asked.process.pid}); stop it first\n"
    )
    assert asked.get("/users") == 200


def test_a_metrics_address_that_is_taken_is_named(
    asked: Node, prepare: Callable[..., Node]
) -> None:
    taken = asked.status()["metrics"]
    failed = run_agent(prepare(metrics={"listen": taken}).config)

    assert failed.returncode == 1
    assert failed.stderr == (
        f"l7proxy: metrics.listen: {taken}: address already in use; set another address, or off\n"
    )


def test_an_access_log_that_cannot_be_written_is_named(prepare: Callable[..., Node]) -> None:
    failed = run_agent(prepare(access_log="/nowhere/access.log").config)

    assert failed.returncode == 1
    assert failed.stderr == (
        "l7proxy: access_log: /nowhere/access.log: no such file or directory;"
        " set another file, or off\n"
    )


def test_a_listening_address_that_is_taken_is_named(
    asked: Node, prepare: Callable[..., Node]
) -> None:
    # The other agent's sockets have SO_REUSEPORT: sharing would halve its traffic unseen.
    taken = asked.status()["listeners"][0]
    listen = [{"address": taken, "to": "127.0.0.1:1", "workload": "users"}]
    failed = run_agent(prepare(proxy={"listen": listen}).config)

    assert failed.returncode == 1
    assert failed.stderr.startswith(
        f"l7proxy: proxy.listen: {taken.replace(':', ' port ')}: address already in use"
    )


def test_a_state_directory_that_cannot_be_made_is_named(
    prepare: Callable[..., Node], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    failed = run_agent(prepare(state=str(tmp_path / "file" / "run")).config)

    assert failed.returncode == 1
    assert failed.stderr.startswith(f"l7proxy: {tmp_path / 'file' / 'run'}: the state directory")
    assert failed.stderr.count("\n") == 1
