"""``l7proxy observe`` on a running agent, with requests that clients made."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.agent.nodes import Backend, Node, eventually, get, running

REFUSED = (
    b"GET /\x1b[31mred\x07 HTTP/1.1\r\nHost: users\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b'GET /"><script>alert(1)</script> HTTP/1.1\r\nHost: users\r\n\r\n',
    b"GET /\xc2\x9b31m\xe2\x80\xae HTTP/1.1\r\nHost: users\r\nX-Request-Id: \x9b\xc2\x9b\r\n\r\n",
    b"\x1b]0;t\x07 / HTTP/1.1\r\nHost: users\r\n\r\n",
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that has served one request and refused some."""
    with Backend() as backend, running(Node(tmp_path_factory.mktemp("n"), backend)) as found:
        assert found.get("/users") == 200
        assert found.get("/users/7") == 403
        for request in REFUSED:
            with contextlib.closing(found.connect()) as connection:
                connection.connect()
                connection.sock.sendall(request)
                assert b" 40" in connection.sock.recv(100)
        eventually(lambda: len(observe(found, "-o", "json").splitlines()) == 2 + len(REFUSED))
        yield found


def command(node: Node, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "l7proxy", "observe", "-c", str(node.config), *arguments]


def observe(node: Node, *arguments: str) -> str:
    done = subprocess.run(command(node, *arguments), capture_output=True, timeout=30, check=True)
    assert done.stderr == b""
    return done.stdout.decode()


def test_requests_are_shown_as_they_were(node: Node) -> None:
    [served] = map(json.loads, observe(node, "-o", "json", "--http-status", "2+").splitlines())
    flow = served["flow"]
    assert served["node_name"] == "test-node"
    assert (flow["source"]["pod_name"], flow["destination"]["pod_name"]) == ("frontend", "users")
    assert (flow["verdict"], flow["l7"]["http"]["code"]) == ("FORWARDED", 200)
    assert flow["extensions"]["value"]["rule"] == "get-0"

    [line] = observe(node, "--reason", "no-rule-matched", "--http-path", "^/users/7$").splitlines()
    assert " -> default/users:" in line
    assert " http-request DROPPED (HTTP/1.1 GET http://" in line


def test_why_it_was_refused_and_what_came_nearest(node: Node) -> None:
    lines = observe(node, "--denied", "--explain", "--http-path", "^/users/7$").splitlines()
    assert lines[1] == "  reason   no-rule-matched: HTTP rules apply and none of them matches"
    assert lines[2].startswith(f"  nearest  users-api get-0 ({node.policies / 'users.yaml'}:")
    assert lines[2].endswith("): path is /users/7, the rule wants /users")


@pytest.mark.parametrize("output", ["compact", "dict", "table", "json"])
def test_what_clients_sent_is_harmless_in_every_output(node: Node, output: str) -> None:
    told = ["--explain"] if output != "table" else []
    shown = observe(node, "-o", output, *told, "--print-policy-names", "--color", "never")
    assert "red" in shown
    assert "<script>" in shown
    for line in shown.split("\n"):
        assert line.isprintable()


def test_new_requests_are_seen_as_they_come(node: Node) -> None:
    with subprocess.Popen(
        command(node, "-f", "-o", "json", "--all", "--http-path", "^/users"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as following:
        assert following.stdout is not None
        try:
            past = [json.loads(following.stdout.readline()) for _ in range(2)]
            assert [each["flow"]["verdict"] for each in past] == ["FORWARDED", "DROPPED"]
            with contextlib.closing(node.connect()) as connection:
                for path in ("/other", "/users/8", "/users"):
                    get(connection, path)
            come = [json.loads(following.stdout.readline())["flow"] for _ in range(2)]
            assert [each["verdict"] for each in come] == ["DROPPED", "FORWARDED"]
        finally:
            following.kill()
