from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.nodes import FRONTEND, INTRUDER, Node, eventually, get


def test_a_change_decides_the_next_request_of_an_open_connection(node: Node) -> None:
    with contextlib.closing(node.connect()) as connection:
        assert (get(connection, "/users"), get(connection, "/new")) == (200, 403)
        node.allow("/new")
        node.in_force(2)
        assert (get(connection, "/users"), get(connection, "/new")) == (403, 200)


def test_sighup_reads_again_and_says_again_what_is_wrong(node: Node) -> None:
    (node.policies / "bad.yaml").write_text("kind: Nonsense\n")
    eventually(lambda: node.errors().count("bad.yaml"))
    said = node.errors().count("bad.yaml")

    node.signal(signal.SIGHUP)

    eventually(lambda: node.errors().count("bad.yaml") == 2 * said)


def test_a_bad_policy_changes_nothing_and_is_told_with_its_place(node: Node) -> None:
    bad = node.policies / "bad.yaml"
    bad.write_text(node.policy("/open").replace("path: /open", "path: '['"))
    eventually(lambda: node.status()["errors"])

    status = node.status()
    assert status["policy"]["revision"] == 1
    [error] = status["errors"]
    line = bad.read_text()[: bad.read_text().index("path:")].count("\n") + 1
    assert error.startswith(f"{bad}:{line}: ")
    assert status["last_error"]["message"] == error
    assert f"l7proxy: error: {error}\n" in node.errors()
    assert node.metric("l7proxy_policy_apply_errors_total") == 1
    assert node.metric("l7proxy_policy_faults") == 1
    assert (node.get("/users"), node.get("/open")) == (200, 403)

    bad.unlink()
    eventually(lambda: not node.status()["errors"])
    eventually(lambda: node.errors().endswith("what was wrong with the files is repaired\n"))
    assert node.metric("l7proxy_policy_faults") == 0
    assert node.revision == 1


def test_policies_that_vanish_stay_in_force_until_they_are_back(node: Node) -> None:
    shutil.rmtree(node.policies)
    eventually(lambda: node.status()["errors"])
    assert node.get("/users") == 200
    assert node.status()["errors"] == [f"{node.policies}: no such file or directory"]

    node.policies.mkdir()
    node.allow("/back")
    eventually(lambda: node.get("/back") == 200)


def test_a_directory_replaced_by_another_is_read(node: Node) -> None:
    fresh = node.folder / "fresh"
    fresh.mkdir()
    (fresh / "users.yaml").write_text(node.policy("/fresh"))
    node.policies.rename(node.folder / "old")
    fresh.rename(node.policies)

    eventually(lambda: node.get("/fresh") == 200)
    # It is watched as the former one was.
    node.allow("/later")
    eventually(lambda: node.get("/later") == 200)


def test_links_that_are_swapped_as_kubernetes_does_are_followed(
    prepare: Callable[..., Node],
) -> None:
    node = prepare()
    (node.policies / "users.yaml").unlink()
    config_map(node.policies, "..2026_1", node.policy("/one"))
    (node.policies / "users.yaml").symlink_to("..data/users.yaml")
    node.start()
    assert node.get("/one") == 200

    config_map(node.policies, "..2026_2", node.policy("/two"))
    shutil.rmtree(node.policies / "..2026_1")

    node.in_force(2)
    assert (node.get("/one"), node.get("/two")) == (403, 200)


def config_map(volume: Path, name: str, text: str) -> None:
    (volume / name).mkdir()
    (volume / name / "users.yaml").write_text(text)
    (volume / "..data_tmp").symlink_to(name)
    (volume / "..data_tmp").rename(volume / "..data")


def test_a_file_saved_by_renaming_is_read_time_after_time(node: Node) -> None:
    for number in range(3):
        node.replace(node.policies / "users.yaml", node.policy(f"/{number}"))
        node.in_force(number + 2)
        assert node.get(f"/{number}") == 200


def test_a_file_that_cannot_be_read_changes_nothing(node: Node) -> None:
    lost = node.policies / "lost.yaml"
    lost.symlink_to("nowhere.yaml")
    eventually(lambda: node.status()["errors"])
    assert str(lost) in node.status()["errors"][0]

    node.allow("/new")
    said = node.errors().count("lost.yaml")
    node.signal(signal.SIGHUP)
    eventually(lambda: node.errors().count("lost.yaml") > said)
    assert (node.get("/users"), node.get("/new")) == (200, 403)

    lost.unlink()
    node.in_force(2)
    assert node.get("/new") == 200


def test_workloads_are_watched_too(node: Node) -> None:
    node.write_workloads({"users": "10.9.9.9", "intruder": FRONTEND, "frontend": INTRUDER})
    node.in_force(2)

    assert node.get("/users", INTRUDER) == 200


def test_bad_workloads_do_not_hold_policies_up(node: Node) -> None:
    (node.folder / "workloads.yaml").write_text("kind: [\n")
    eventually(lambda: node.status()["errors"])
    node.allow("/new")
    node.in_force(2)

    assert node.get("/new") == 200
    assert len(node.status()["errors"]) == 1


def test_what_means_the_same_is_no_new_revision(node: Node) -> None:
    (node.policies / "users.yaml").write_text("# a remark\n" + node.policy("/users"))
    (node.policies / "more.yaml").write_text(
        node.policy("/more").replace("users-api", "more").replace("frontend", "intruder")
    )
    node.in_force(2)

    eventually(lambda: node.get("/more", INTRUDER) == 200)
    assert node.revision == 2


def test_before_the_first_good_policies_every_request_is_refused(
    prepare: Callable[..., Node],
) -> None:
    node = prepare()
    good = node.policies / "users.yaml"
    text = good.read_text()
    good.write_text("kind: Nonsense\n")
    node.start()
    assert node.status()["state"] == "not ready"
    assert node.get("/users") == 503
    assert f"{good}:1: " in node.errors()
    assert "not ready: every request is refused" in node.errors()

    good.write_text(text)
    node.in_force(1)
    assert node.status()["state"] == "ready"
    assert node.get("/users") == 200


def test_no_workloads_file_is_not_ready_either(prepare: Callable[..., Node]) -> None:
    node = prepare()
    (node.folder / "workloads.yaml").unlink()
    node.start()

    assert node.get("/users") == 503
    node.write_workloads({"users": "10.9.9.9", "frontend": FRONTEND})
    node.in_force(1)
    assert node.get("/users") == 200


@pytest.mark.parametrize("workers", [2])
def test_no_request_fails_that_both_policies_allow(
    prepare: Callable[..., Node], workers: int
) -> None:
    node = prepare(workers=workers).start()
    connections = [node.connect() for _ in range(4)]
    answers = set()
    for number in range(6):
        node.allow("/users", f"/other-{number}")
        while node.revision < number + 2:
            answers |= {get(connection, "/users") for connection in connections}
    for connection in connections:
        connection.close()

    assert answers == {200}


def test_a_listener_whose_workload_is_not_known_is_told(prepare: Callable[..., Node]) -> None:
    node = prepare()
    node.write_workloads({"frontend": "127.0.0.2"})
    node.spawn()
    eventually(node.answers)
    eventually(lambda: "no workload default/users; connections are refused" in node.errors())
