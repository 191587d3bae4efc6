"""Workload files: what is accepted, what is passed over, and what is an error."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml

from l7proxy.limits import Limits
from l7proxy.workloads.documents import WorkloadErrors, WorkloadSet, load, parse
from l7proxy.workloads.model import Workload

KUBECTL = Path(__file__).with_name("kubectl.yaml")

USERS = Workload(
    namespace="shop",
    name="users-7d9c-abcde",
    labels={"app": "users", "pod-template-hash": "7d9c"},
    addresses=(ip_address("10.0.0.4"), ip_address("fd00::4")),
    node="worker-1",
)


def pod(name: str = "users", **sections: object) -> str:
    """A Pod document; ``annotations`` and ``labels`` go into its metadata."""
    metadata = {"name": name}
    for key in ("annotations", "labels", "namespace"):
        if key in sections:
            metadata[key] = sections.pop(key)
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, **sections})


def read(*documents: str) -> WorkloadSet:
    return parse("\n---\n".join(documents).encode(), "w.yaml")


def errors(*documents: str) -> list[str]:
    with pytest.raises(WorkloadErrors) as caught:
        read(*documents)
    return str(caught.value).splitlines()


def test_what_kubectl_prints_is_a_valid_file() -> None:
    found = load(KUBECTL)
    assert found.workloads == (USERS,)
    assert found.workloads[0].labels == USERS.labels
    assert found.warnings == ()


def test_json_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "pods.json"
    file.write_text(json.dumps(yaml.safe_load(KUBECTL.read_text())))
    assert load(file) == load(KUBECTL)


def test_the_items_of_a_pod_list_need_no_kind() -> None:
    listing = {"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "a"}}]}
    assert [each.id for each in read(json.dumps(listing)).workloads] == ["default/a"]


def test_a_phase_that_is_no_text_is_none() -> None:
    assert [each.id for each in read(pod("a", status={"phase": ["Failed"]})).workloads]


def test_a_warning_is_one_line() -> None:
    (warning,) = read(r'{apiVersion: v1, kind: "A\tB\u2028\e[2J"}').warnings
    assert str(warning) == r"w.yaml:1: kind A\tB\u2028\x1b[2J is not a Pod: passed over"


def test_annotations_identify_what_is_no_pod() -> None:
    found = read(
        pod(
            annotations={
                "l7proxy.io/cgroup": "/system.slice//users.service/",
                "l7proxy.io/netns": "users",
                "l7proxy.io/short-circuit": "off",
            }
        )
    ).workloads[0]
    assert (found.cgroup, found.netns) == ("/system.slice/users.service", "users")
    assert not found.short_circuit


@pytest.mark.parametrize(("written", "on"), [("on", True), ("off", False), ('"off"', False)])
def test_short_circuit_needs_no_quotes(written: str, on: bool) -> None:
    text = (
        "{apiVersion: v1, kind: Pod, metadata: "
        f"{{name: a, annotations: {{l7proxy.io/short-circuit: {written}}}}}}}"
    )
    assert read(text).workloads[0].short_circuit is on


def test_a_pod_on_the_host_network_is_known_by_its_cgroup_alone() -> None:
    annotations = {"l7proxy.io/cgroup": "/kubepods/a"}
    status = {"podIP": "192.0.2.10"}
    found = read(pod(annotations=annotations, spec={"hostNetwork": True}, status=status))
    assert found.workloads[0].addresses == ()
    assert found.workloads[0].cgroup == "/kubepods/a"


def test_an_ipv4_address_in_ipv6_clothes_is_the_ipv4_address() -> None:
    found = read(pod(status={"podIP": "::ffff:10.0.0.9"})).workloads[0]
    assert found.addresses == (ip_address("10.0.0.9"),)


def test_other_kinds_are_passed_over_with_a_warning() -> None:
    found = read('{"kind": "Service", "apiVersion": "v1"}', pod("a"))
    assert [each.id for each in found.workloads] == ["default/a"]
    assert [str(each) for each in found.warnings] == [
        "w.yaml:1: kind Service is not a Pod: passed over"
    ]


def test_a_folder_is_all_its_files_and_no_hidden_ones(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(pod("b"))
    (tmp_path / "a.json").write_text(pod("a"))
    (tmp_path / ".hidden.yaml").write_text("][")
    (tmp_path / "notes.txt").write_text("][")
    (tmp_path / "below.yaml").mkdir()
    assert [each.id for each in load(tmp_path).workloads] == ["default/a", "default/b"]


def test_an_empty_folder_and_an_empty_file_hold_no_workload(tmp_path: Path) -> None:
    assert load(tmp_path).workloads == ()
    (tmp_path / "a.yaml").write_text("---\n# nothing\n")
    assert load(tmp_path).workloads == ()


def test_the_digest_changes_with_the_workloads_only(tmp_path: Path) -> None:
    first = read(pod("a", labels={"x": "1", "y": "2"}), pod("b"))
    assert (
        read(pod("b"), "# a remark", pod("a", labels={"y": "2", "x": "1"})).digest == first.digest
    )
    assert read(pod("a", labels={"x": "1", "y": "3"}), pod("b")).digest != first.digest


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[1, 2]", "must be a Pod or a List of Pods"),
        ("{kind: List, items: {}}", "items: must be a list"),
        ("{apiVersion: v1, metadata: {name: a}}", "kind: is missing"),
        ("{apiVersion: v1, kind: [Pod], metadata: {name: a}}", "kind: must be a text: quote it"),
        ("{apiVersion: v2, kind: Pod, metadata: {name: a}}", "apiVersion: must be v1"),
        ("{apiVersion: v1, kind: Pod}", "metadata.name: is missing"),
        ("{apiVersion: v1, kind: Pod, metadata: []}", "metadata: must be a map"),
        (pod("no/name"), "metadata.name: 'no/name' is not a name: letters, digits, - _ . and @"),
        (pod(labels={"version": 2}), "metadata.labels.version: must be a text: quote it"),
        (pod(labels=["a"]), "metadata.labels: must be a map"),
        (pod(status={"podIP": "10.0.0.300"}), "status.podIP: '10.0.0.300' is not an IP address"),
        (
            pod(status={"podIP": "0.0.0.0"}),
            "status.podIP: '0.0.0.0' is not the address of one host",
        ),
        (
            pod(status={"podIPs": [{"ip": "fe80::1%eth0"}]}),
            "status.podIPs[0].ip: 'fe80::1%eth0' names an interface of one machine",
        ),
        (pod(status={"podIPs": "10.0.0.1"}), "status.podIPs: must be a list"),
        (
            pod(annotations={"l7proxy.io/cgroup": "/"}),
            "metadata.annotations.l7proxy.io/cgroup: "
            "must be a path below the cgroup2 mount, as /a.slice/b",
        ),
        (
            pod(annotations={"l7proxy.io/cgroup": "/a/../.."}),
            "metadata.annotations.l7proxy.io/cgroup: "
            "must be a path below the cgroup2 mount, as /a.slice/b",
        ),
        (
            pod(annotations={"l7proxy.io/netns": "../users"}),
            "metadata.annotations.l7proxy.io/netns: '../users' is not a name under /run/netns",
        ),
        (
            pod(annotations={"l7proxy.io/netn": "users"}),
            "metadata.annotations.l7proxy.io/netn: unknown; there are "
            "l7proxy.io/cgroup, l7proxy.io/netns, l7proxy.io/short-circuit",
        ),
        (
            pod(annotations={"l7proxy.io/short-circuit": "maybe"}),
            'metadata.annotations.l7proxy.io/short-circuit: must be "on" or "off"',
        ),
        ("{kind: Pod]", "not valid YAML: did not find expected ',' or '}'"),
    ],
)
def test_a_wrong_object_is_an_error_that_names_the_field(document: str, message: str) -> None:
    assert errors(document) == [f"w.yaml:1: {message}"]


def test_errors_name_the_line_in_a_list() -> None:
    text = KUBECTL.read_text().replace("    podIP: 10.0.0.4\n", "    podIP: nowhere\n", 1)
    line = text.splitlines().index("    podIP: nowhere") + 1
    assert errors(text) == [f"w.yaml:{line}: status.podIP: 'nowhere' is not an IP address"]


@pytest.mark.parametrize(
    ("first", "second", "claim"),
    [
        ({"name": "a"}, {"name": "a"}, "default/a: the name default/a"),
        (
            {"name": "a", "status": {"podIP": "10.0.0.1"}},
            {"name": "b", "status": {"podIPs": [{"ip": "10.0.0.1"}]}},
            "default/b: the address 10.0.0.1",
        ),
        (
            {"name": "a", "annotations": {"l7proxy.io/netns": "n"}},
            {"name": "b", "annotations": {"l7proxy.io/netns": "n"}},
            "default/b: the network namespace n",
        ),
        (
            {"name": "a", "annotations": {"l7proxy.io/cgroup": "/n"}},
            {"name": "b", "annotations": {"l7proxy.io/cgroup": "//n/"}},
            "default/b: the cgroup /n",
        ),
    ],
)
def test_two_workloads_cannot_claim_the_same(
    first: dict[str, str], second: dict[str, str], claim: str
) -> None:
    found = errors(pod(**first), pod(**second))
    assert found == [f"w.yaml:3: {claim} is already that of default/a (w.yaml:1)"]


def test_claims_clash_between_files_too(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(pod("same"))
    (tmp_path / "b.yaml").write_text(pod("same"))
    with pytest.raises(WorkloadErrors, match=r"b\.yaml:1: .* \(.*a\.yaml:1\)"):
        load(tmp_path)


def test_more_workloads_than_the_limit_are_refused() -> None:
    text = "\n---\n".join(pod(f"p{number}") for number in range(4)).encode()
    limits = replace(Limits(), workloads=3)
    with pytest.raises(WorkloadErrors, match=r"more than 3 workloads \(limits.workloads\)"):
        parse(text, "w.yaml", limits)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(WorkloadErrors, match=r"gone\.yaml: cannot be read: no such file"):
        load(tmp_path / "gone.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(WorkloadErrors, match=r"pipe\.yaml: is not a regular file"):
        load(tmp_path)


def test_a_file_larger_than_the_limit_is_not_read_into_memory(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(pod())
    with pytest.raises(WorkloadErrors, match="is larger than 10 bytes"):
        load(file, replace(Limits(), workload_file_bytes=10))
