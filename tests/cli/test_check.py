"""``l7proxy check``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import POLICY, WORKLOADS, Done

L7proxy = Callable[..., Done]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with policies/users.yaml in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "users.yaml").write_text(POLICY)
    return tmp_path


def test_a_valid_folder_shows_its_destinations(l7proxy: L7proxy, folder: Path) -> None:
    done = l7proxy("check", "policies")
    assert done.code == 0
    heading, row, closing = done.out.splitlines()
    assert heading.split() == ["DIRECTION", "WORKLOAD", "PORT", "ROAD", "RULES", "WHY"]
    assert "app=users" in row
    assert " proxy " in row
    assert closing.startswith("1 policies, 4 rules")


def test_the_configured_policies_and_workloads_are_checked_by_default(
    l7proxy: L7proxy, folder: Path
) -> None:
    (folder / "workloads.yaml").write_text(WORKLOADS)
    done = l7proxy("check", "-o", "json")
    assert done.code == 0
    assert list(done.json) == ["valid", "errors", "warnings", "destinations"]
    (row,) = done.json["destinations"]
    assert {key: row[key] for key in ("workload", "port", "road", "rules")} == {
        "workload": "default/users",
        "port": 80,
        "road": "proxy",
        "rules": 4,
    }


def test_mistakes_are_told_one_a_line_with_their_place(l7proxy: L7proxy, folder: Path) -> None:
    (folder / "policies" / "bad.yaml").write_text(
        "apiVersion: l7proxy.io/v1alpha1\nkind: L7Policy\nmetadata: {name: b}\n"
        "spec:\n  endpointSelector: {}\n  ingres: []\n  toFQDNs: []\n"
    )
    done = l7proxy("check", "policies")
    assert (done.code, done.out) == (1, "")
    assert [line.split(": ")[0] for line in done.err.splitlines()] == [
        "policies/bad.yaml:6",
        "policies/bad.yaml:7",
    ]
    shown = l7proxy("check", "policies", "-o", "json")
    assert (shown.code, shown.err) == (1, "")
    assert not shown.json["valid"]
    assert [(each["file"], each["line"]) for each in shown.json["errors"]] == [
        ("policies/bad.yaml", 6),
        ("policies/bad.yaml", 7),
    ]
    assert shown.json["destinations"] == []


def test_workloads_with_mistakes_are_told_too(l7proxy: L7proxy, folder: Path) -> None:
    (folder / "w.yaml").write_text("kind: Pod\napiVersion: v1\n")
    done = l7proxy("check", "policies", "--workloads", "w.yaml")
    assert done == Done(1, "", "w.yaml:1: metadata.name: is missing\n")


def test_a_folder_that_is_not_there(l7proxy: L7proxy, folder: Path) -> None:
    done = l7proxy("check", "gone")
    assert (done.code, done.out) == (1, "")
    assert done.err == "gone: no such file or directory\n"


def test_warnings_do_not_make_it_invalid(l7proxy: L7proxy, folder: Path) -> None:
    (folder / "w.yaml").write_text("kind: Service\napiVersion: v1\n")
    done = l7proxy("check", "policies", "--workloads", "w.yaml", "-o", "json")
    assert done.code == 0
    assert {"file": "w.yaml", "line": 1, "message": "kind Service is not a Pod: passed over"} in (
        done.json["warnings"]
    )


def test_the_sizes_of_the_kernels_tables_are_told_for_workloads_of_this_node(
    l7proxy: L7proxy, folder: Path
) -> None:
    assert "kernel tables" not in l7proxy("check").out
    (folder / "node.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: users\n  labels: {app: users}\n"
        "  annotations: {l7proxy.io/netns: users}\nstatus: {podIP: 10.0.0.9}\n"
    )
    told = l7proxy("check", "--workloads", "node.yaml").out.splitlines()[-2]
    # The pod, and the world by each address family.
    assert told.startswith("kernel tables: 3 identities, ")
    # A rule of it forwards, so that the kernel has nothing to decide.
    assert told.endswith(" roads, 0 rule sets, 0 bytes of rules")


NODE = """
apiVersion: v1
kind: Pod
metadata:
  name: users
  labels: {app: users}
  annotations: {l7proxy.io/netns: users}
status: {podIP: 10.0.0.9}
---
apiVersion: v1
kind: Pod
metadata: {name: frontend, labels: {app: frontend}}
status: {podIP: 10.0.0.8}
"""
KERNEL = """
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: users-api}
spec:
  endpointSelector: {matchLabels: {app: users}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: frontend}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: GET, path: PATH}]}
"""


def roads(l7proxy: L7proxy, folder: Path, path: str, *more: str) -> tuple[str, str, str]:
    """The road of the one destination, why, and what is said of the kernel's tables."""
    (folder / "policies" / "users.yaml").write_text(KERNEL.replace("PATH", path))
    (folder / "workloads.yaml").write_text(NODE)
    (row,) = l7proxy("check", "-o", "json", *more).json["destinations"]
    lines = l7proxy("check", *more).out.splitlines()
    return row["road"], row["reason"], next((each for each in lines if "tables: " in each), "")


def test_rules_that_the_kernel_decides(l7proxy: L7proxy, folder: Path) -> None:
    road, _, sizes = roads(l7proxy, folder, "/users(/.*)?")
    assert road == "kernel"
    assert sizes.endswith(", 1 rule sets, 135472 bytes of rules")


def test_rules_that_the_kernels_tables_do_not_hold(l7proxy: L7proxy, folder: Path) -> None:
    road, why, sizes = roads(l7proxy, folder, "'/.*a[a-z]{20}'")
    assert (road, sizes.endswith(", 0 rule sets, 0 bytes of rules")) == ("proxy", True)
    assert why.startswith("the rules need ")
    assert "states or more: more than one of the kernel's tables holds" in why
    road, why, _ = roads(l7proxy, folder, r"'/\C'")
    assert (road, "single bytes" in why) == ("proxy", True)


def test_rules_that_have_no_room_beside_others(l7proxy: L7proxy, folder: Path) -> None:
    """The kernel's limit is for all sets of rules together."""
    second = [
        text.replace("users", "orders").replace("10.0.0.9", "10.0.0.7") for text in (KERNEL, NODE)
    ]
    policies, workloads = (
        f"{one.replace('PATH', '/')}\n---\n{other.replace('PATH', '/orders').partition('---')[0]}"
        for one, other in zip((KERNEL, NODE), second, strict=True)
    )
    (folder / "policies" / "users.yaml").write_text(policies)
    (folder / "workloads.yaml").write_text(workloads)
    given = ("--workloads", "workloads.yaml", "-o", "json")
    asked = ("GET", "/", "--from", "frontend", "--to", "users", "--port", "80")
    for limit, road in ((2**28, "kernel"), (300_000, "proxy")):
        (folder / "l7proxy.yaml").write_text(f"limits: {{kernel_table_bytes: {limit}}}\n")
        orders, users = l7proxy("check", *given).json["destinations"]
        assert (orders["workload"], orders["road"]) == ("default/orders", "kernel")
        assert (users["workload"], users["road"]) == ("default/users", road)
        told = l7proxy("explain", *asked, "--policies", "policies", *given)
        assert (told.code, told.json["road"]) == (0, road)
    assert users["reason"] == "the kernel's tables have no room left for all of these rules"


def test_userspace_mode_has_no_kernel_road(l7proxy: L7proxy, folder: Path) -> None:
    (folder / "l7proxy.yaml").write_text("datapath: userspace\n")
    road, _, sizes = roads(l7proxy, folder, "/", "-c", "l7proxy.yaml")
    assert (road, sizes) == ("proxy", "")


def test_a_server_that_is_left_alone_takes_the_proxy(l7proxy: L7proxy, folder: Path) -> None:
    (folder / "w.yaml").write_text(
        NODE.replace("netns: users", "netns: users, l7proxy.io/short-circuit: 'off'")
    )
    road, why, _ = roads(l7proxy, folder, "/", "--workloads", "w.yaml")
    assert (road, "short-circuit off" in why) == ("proxy", True)


def test_audited_policies_are_listed(l7proxy: L7proxy, folder: Path) -> None:
    text = POLICY.replace("spec:\n", "spec:\n  audit: true\n")
    (folder / "policies" / "users.yaml").write_text(text)
    done = l7proxy("check", "policies")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[-2] == "audited, not enforced: users-api"
    assert "policy users-api is audited" in lines[1]
    assert lines[2].split()[3:6] == ["other", "ports", "splice"]
