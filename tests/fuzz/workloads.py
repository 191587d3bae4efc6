"""Workload documents: refused with the place of every mistake, or each workload found again."""

from __future__ import annotations

import json
from collections.abc import Iterator

from l7proxy.limits import Limits
from l7proxy.workloads.directory import Directory
from l7proxy.workloads.documents import WorkloadErrors, parse
from tests.fuzz.target import Target, check_errors, check_line
from tests.workloads.test_workload_documents import KUBECTL, pod

NAME = "w.yaml"
LIMITS = Limits(workload_values=5000)


def run(data: bytes) -> None:
    try:
        found = parse(data, NAME, LIMITS)
    except WorkloadErrors as errors:
        check_errors(errors, NAME, data)
        return
    assert parse(data, NAME, LIMITS) == found
    for warning in found.warnings:
        check_line(str(warning))
    directory = Directory(found.workloads)
    for each in found.workloads:
        check_line(each.id)
        assert directory.by_id(each.id) == each
        for address in each.addresses:
            assert directory.by_address(address) == each
        if each.netns is not None:
            assert "/" not in each.netns
            assert directory.by_netns(each.netns) == each
        if each.cgroup is not None:
            assert ".." not in each.cgroup.split("/")
            assert directory.by_cgroup(f"{each.cgroup}/below") == each


def seeds() -> Iterator[bytes]:
    yield KUBECTL.read_bytes()
    yield pod().encode()
    annotations = {
        "l7proxy.io/cgroup": "/a.slice/b",
        "l7proxy.io/netns": "a",
        "l7proxy.io/short-circuit": "off",
    }
    status = {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}
    yield pod(annotations=annotations, labels={"app": "a"}, status=status).encode()
    yield pod(spec={"hostNetwork": True, "nodeName": "n"}, status={"phase": "Failed"}).encode()
    items = [json.loads(pod("a")), json.loads(pod("b", status={"podIP": "::ffff:10.0.0.1"}))]
    yield json.dumps({"apiVersion": "v1", "kind": "List", "items": items}).encode()
    yield b"kind: PodList\nitems:\n- metadata: {name: a}\n- {kind: Service}\n---\nkind: Pod\n"


TOKENS = (
    *b"apiVersion: kind: metadata: name: namespace: labels: annotations: spec: status:".split(b" "),
    *b"items: Pod PodList List podIP: podIPs: ip: phase: nodeName: hostNetwork: true".split(b" "),
    *b"l7proxy.io/cgroup: l7proxy.io/netns: l7proxy.io/short-circuit: on off null".split(b" "),
    *(b"v1", b"10.0.0.1", b"fe80::1%eth0", b"::ffff:10.0.0.1", b"\n---\n", b"&a ", b"*a", b"- "),
    *(b"[]", b"{}", b"../", b"/a/../b", b"Failed", b"!!str "),
)

TARGET = Target(run, seeds, TOKENS)
