"""Flows read back as the requests they were, and flows that do not tell enough."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7proxy.reasons import Reason
from l7proxy.replay.recorded import Cause, NotReplayed, Reader, Recorded
from l7proxy.workloads.directory import Directory
from l7proxy.workloads.model import HOST, Peer, Workload, World
from tests.observe.records import FRONTEND, USERS
from tests.replay.flows import hubble, ours


def read(
    document: Any,
    *workloads: Workload,
    headers: tuple[bytes, ...] = (),
    hosts_matter: bool = False,
) -> Recorded:
    reader = Reader(Directory(workloads), frozenset(headers), hosts_matter=hosts_matter)
    return reader.read(document)


def cause(document: Any, **how: Any) -> tuple[Cause, str]:
    with pytest.raises(NotReplayed) as caught:
        read(document, **how)
    return caught.value.cause, caught.value.detail


def test_a_record_of_ours_tells_what_the_request_was() -> None:
    found = read(ours())
    assert (found.client.id, found.server.id, found.port) == (FRONTEND.id, USERS.id, 80)
    assert isinstance(found.client, Workload)
    assert found.client.labels == FRONTEND.labels
    assert (found.method, found.target, found.host) == (b"GET", b"/users?page=1", b"users")
    assert found.verdict == "FORWARDED"


def test_a_record_of_hubbles_tells_it_too_bare_or_in_its_response() -> None:
    found = read(hubble())
    assert found == read(hubble()["flow"])
    assert (found.client.id, found.target) == ("default/frontend-6d4b75cb6d-x2x4z", b"/users")
    assert isinstance(found.client, Workload)
    assert found.client.labels["app"] == "frontend"
    assert "io.kubernetes.pod.namespace" not in found.client.labels


def test_a_known_workload_has_the_labels_it_is_known_with() -> None:
    relabelled = Workload("default", "frontend", {"app": "other"})
    assert read(ours(), relabelled).client is relabelled


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["reserved:host"], HOST),
        (["reserved:host", "reserved:kube-apiserver"], HOST),
        (["reserved:world"], World(ip_address("10.0.1.5"))),
        (["reserved:world-ipv4", "cidr:10.0.0.0/8"], World(ip_address("10.0.1.5"))),
        (["k8s:app=a"], Workload("default", "10.0.1.5", {"app": "a"})),
    ],
)
def test_who_is_no_pod_is_known_by_labels(labels: list[str], expected: Peer) -> None:
    assert read(hubble(source={"labels": labels})).client == expected


def test_an_address_of_a_known_workload_is_that_workload() -> None:
    pod = Workload("default", "pod", {}, (ip_address("10.0.1.5"),))
    assert read(hubble(source={"labels": ["reserved:world"]}), pod).client is pod


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, (Cause.NOT_A_FLOW, "")),
        ({"flow": 7}, (Cause.NOT_A_FLOW, "")),
        ({"lost_events": {"num_events_lost": "3"}}, (Cause.NOT_A_FLOW, "")),
        (hubble(l7=None), (Cause.NO_HTTP, "")),
        (hubble(l7={"type": "REQUEST", "dns": {"query": "a."}}), (Cause.NO_HTTP, "")),
        (hubble(is_reply=True), (Cause.ANSWER, "")),
        (hubble(verdict="REDIRECTED"), (Cause.VERDICT, "")),
        (hubble(source={}), (Cause.UNKNOWN_PEER, "")),
        (
            hubble(source={"labels": ["reserved:remote-node"]}),
            (Cause.UNKNOWN_PEER, "reserved:remote-node"),
        ),
        (hubble(l4={"TCP": {"destination_port": "80"}}), (Cause.NOT_A_FLOW, "")),
        (hubble(l4={"UDP": {"destination_port": 80}}), (Cause.NOT_A_FLOW, "")),
        (hubble(IP={"source": "nonsense"}, source={"labels": []}), (Cause.NOT_A_FLOW, "")),
        (ours(path=b"/" + b"a" * 4096), (Cause.CUT, "")),
        (ours(path=b"/\xff"), (Cause.CUT, "")),
        (hubble(url="http://users/a?HUBBLE_REDACTED"), (Cause.CUT, "")),
        (hubble(url="http://users"), (Cause.CUT, "")),
        (ours(verdict="DROPPED", reason=Reason.BAD_HOST), (Cause.NOT_BY_POLICY, "bad-host")),
        (ours(verdict="DROPPED", reason=Reason.NOT_READY), (Cause.NOT_BY_POLICY, "not-ready")),
    ],
)
def test_what_a_record_does_not_tell_is_not_guessed(
    document: Any, expected: tuple[Cause, str]
) -> None:
    assert cause(document) == expected


def test_a_host_that_is_not_recorded_matters_only_where_rules_ask_for_one() -> None:
    hostless = ours(protocol="HTTP/1.0", host=b"")
    for document in (hostless, hubble(url="/users")):
        assert read(document).host == b""
        assert cause(document, hosts_matter=True) == (Cause.HOST, "")


def test_only_headers_that_rules_ask_for_are_kept_and_redacted_ones_are_unknown() -> None:
    sent = {"X-Key": "a", "x-key": "b", "Other": "c", "X-Secret": "HUBBLE_REDACTED"}
    found = read(hubble(headers=sent), headers=(b"x-key", b"x-secret", b"x-absent"))
    assert found.headers == ((b"x-key", b"a,b"),)


def test_the_target_of_the_whole_server() -> None:
    assert read(ours(method=b"OPTIONS", path=b"*")).target == b"*"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(
    st.sampled_from(
        ["verdict", "l7", "source", "destination", "IP", "l4", "is_reply", "extensions"]
    ),
    _json,
)
def test_a_malformed_flow_is_told_and_never_breaks_anything(key: str, value: Any) -> None:
    document = hubble()
    document["flow"][key] = value
    with contextlib.suppress(NotReplayed):
        read(document, headers=(b"x",))
