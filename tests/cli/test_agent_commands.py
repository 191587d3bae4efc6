"""The commands that ask the running agent."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import Done, FakeAgent

L7proxy = Callable[..., Done]
STATUS = {
    "version": "0.1.0",
    "node": "worker-1",
    "datapath": {"mode": "userspace", "reason": "not root"},
    "roads": {"proxy": 3},
    "errors": [],
    "last_error": None,
}


def test_status_prints_what_the_agent_says(l7proxy: L7proxy, agent: FakeAgent) -> None:
    agent.answers["/status"] = (200, STATUS)
    assert l7proxy("status", "-c", agent.config, "-o", "json").json == STATUS
    assert l7proxy("status", "-c", agent.config).out.splitlines() == [
        "version     0.1.0",
        "node        worker-1",
        "datapath:",
        "  mode    userspace",
        "  reason  not root",
        "roads:",
        "  proxy  3",
        "errors      -",
        "last error  -",
    ]


def test_workloads_are_a_table(l7proxy: L7proxy, agent: FakeAgent) -> None:
    workload = {"namespace": "default", "name": "users", "labels": {"app": "users", "a": "b"}}
    workload |= {"addresses": ["10.0.0.3", "fd00::3"], "netns": "users", "cgroup": None}
    agent.answers["/workloads"] = (200, {"workloads": [workload]})
    assert l7proxy("workloads", "-c", agent.config).out.splitlines() == [
        "NAMESPACE  NAME   LABELS         ADDRESSES          NETNS  CGROUP",
        "default    users  app=users,a=b  10.0.0.3, fd00::3  users  -",
    ]
    shown = l7proxy("workloads", "-c", agent.config, "-o", "json").json
    assert shown == {"workloads": [workload]}


def test_policies_are_a_table(l7proxy: L7proxy, agent: FakeAgent) -> None:
    policy = {"name": "a", "namespace": "default", "kind": "L7Policy", "rules": 2, "source": "a:1"}
    agent.answers["/policies"] = (200, {"revision": 3, "policies": [policy]})
    assert l7proxy("policies", "-c", agent.config).out.splitlines() == [
        "NAME  NAMESPACE  KIND      RULES  SOURCE",
        "a     default    L7Policy  2      a:1",
    ]


def test_what_a_terminal_would_obey_is_made_harmless(l7proxy: L7proxy, agent: FakeAgent) -> None:
    agent.answers["/status"] = (200, {"node": "\x1b[31mred\n"})
    assert l7proxy("status", "-c", agent.config).out == "node  \\x1b[31mred\\n\n"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (503, {"error": "no policy set yet"}, "the agent says: no policy set yet"),
        (500, [], "the agent says: status 500"),
        (200, b"<html>", "admin.sock: the agent's answer is not JSON"),
    ],
)
def test_what_the_agent_refuses_is_an_error(
    l7proxy: L7proxy, agent: FakeAgent, status: int, body: object, message: str
) -> None:
    agent.answers["/status"] = (status, body)
    done = l7proxy("status", "-c", agent.config)
    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_question_that_the_agent_cannot_be_asked_is_wrong_usage(
    l7proxy: L7proxy, agent: FakeAgent
) -> None:
    agent.answers["/explain"] = (400, {"error": "no workload 'x'"})
    ends = ["--from", "x", "--to", "y", "--port", "80"]
    done = l7proxy("explain", "-c", agent.config, *ends, "GET", "/")
    assert done == Done(2, "", "l7proxy: the agent says: no workload 'x'\n")


@pytest.mark.parametrize("command", ["status", "workloads", "policies"])
def test_without_an_agent_the_remedy_is_named(
    l7proxy: L7proxy, tmp_path: Path, command: str
) -> None:
    config = tmp_path / "l7proxy.yaml"
    config.write_text("state: run\n")
    done = l7proxy(command, "-c", config)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"l7proxy: no agent answers at {tmp_path}/run/admin.sock (no such file or directory); "
        "start one with: l7proxy run\n"
    )


def test_unload_refuses_while_an_agent_runs(l7proxy: L7proxy, agent: FakeAgent) -> None:
    agent.answers["/status"] = (200, STATUS)
    done = l7proxy("unload", "-c", agent.config)
    assert (done.code, done.out) == (1, "")
    assert "stop it first" in done.err


def test_unload_where_nothing_was_left(l7proxy: L7proxy, tmp_path: Path) -> None:
    config = tmp_path / "l7proxy.yaml"
    config.write_text("state: run\nbpffs: pins\n")
    assert l7proxy("unload", "-c", config) == Done(0, f"nothing was left in {tmp_path}/pins\n", "")


def test_doctor_names_every_fact_with_its_remedy(l7proxy: L7proxy, tmp_path: Path) -> None:
    config = tmp_path / "l7proxy.yaml"
    config.write_text(f"cgroup: {tmp_path}/none\nbpffs: pins\n")
    done = l7proxy("doctor", "-c", config, "-o", "json")
    assert done.code == 1
    assert not done.json["ok"]
    for check in done.json["checks"]:
        assert list(check) == ["name", "ok", "detail", "remedy"]
        assert check["ok"] is not False or check["remedy"]
    lines = l7proxy("doctor", "-c", config).out.splitlines()
    assert len(lines) == len(done.json["checks"])
    assert any(line.startswith("lacking") and "; remedy: " in line for line in lines)


def test_doctor_is_content_where_userspace_mode_is_wanted(l7proxy: L7proxy, tmp_path: Path) -> None:
    config = tmp_path / "l7proxy.yaml"
    config.write_text(f"datapath: userspace\ncgroup: {tmp_path}/none\n")
    assert l7proxy("doctor", "-c", config).code == 0


def test_a_socket_without_a_listener_is_no_agent(l7proxy: L7proxy, agent: FakeAgent) -> None:
    """What a killed agent leaves behind."""
    state = agent.config.parent / "run"
    shutil.copytree(state, state.with_name("old"), copy_function=_stale)
    agent.config.write_text("state: old\n")
    done = l7proxy("status", "-c", agent.config)
    assert (done.code, done.out) == (1, "")
    assert "connection refused" in done.err


def _stale(source: str, target: str) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(target)
