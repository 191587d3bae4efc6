from __future__ import annotations

import json
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7proxy.observe.accesslog import LineEncoder
from l7proxy.observe.flows import Redaction, printable, to_flow
from l7proxy.policy.verdict import Road
from l7proxy.proxy.ports import Endpoint
from l7proxy.reasons import Reason
from l7proxy.workloads.model import HOST, World
from tests.observe.records import FRONTEND, USERS, denied, record


def test_a_served_request_reads_as_a_hubble_response() -> None:
    flow = to_flow(record(), "worker-1")

    assert flow["node_name"] == "worker-1"
    assert flow["time"] == flow["flow"]["time"] == "2026-09-21T14:13:20.250000000Z"
    body = flow["flow"]
    assert body["verdict"] == "FORWARDED"
    assert body["IP"] == {"source": "10.0.0.1", "destination": "10.0.0.2", "ipVersion": "IPv4"}
    assert body["l4"] == {"TCP": {"source_port": 40000, "destination_port": 80}}
    assert body["source"] == {
        "namespace": "default",
        "labels": ["k8s:app=frontend", "k8s:env=prod"],
        "pod_name": "frontend",
    }
    assert body["Type"] == "L7"
    assert body["l7"] == {
        "type": "RESPONSE",
        "latency_ns": "2100000",
        "http": {
            "code": 200,
            "method": "GET",
            "url": "http://users/users?page=1",
            "protocol": "HTTP/1.1",
            "headers": [{"key": "X-Request-Id", "value": "4c1b"}],
        },
    }
    assert body["event_type"] == {"type": 129}
    assert body["Summary"] == "HTTP/1.1 200 2ms (GET http://users/users?page=1)"
    assert body["ingress_allowed_by"] == [
        {"name": "users-api", "namespace": "default", "labels": ["l7proxy:rule=list"]}
    ]


def test_a_refused_request_is_a_dropped_request_with_hubbles_drop_reason() -> None:
    body = to_flow(denied(direction="EGRESS"), "n")["flow"]

    assert body["verdict"] == "DROPPED"
    assert (body["drop_reason"], body["drop_reason_desc"]) == (133, "POLICY_DENIED")
    assert body["l7"]["type"] == "REQUEST"
    assert body["Summary"] == "HTTP/1.1 GET http://users/users?page=1"
    assert body["egress_denied_by"] == [{"name": "users-api", "namespace": "default"}]
    assert body["extensions"]["value"]["reason"] == "no-rule-matched"


def test_waived_header_conditions_are_in_the_flow_and_in_the_log() -> None:
    waived = record(logged=("rule list: header X-Key is not v\n",))
    for line in (to_flow(waived, "n"), json.loads(LineEncoder("n").encode(waived))):
        known = line["flow"]["extensions"]["value"]
        assert known["logged"] == ["rule list: header X-Key is not v\\n"]
    assert "logged" not in to_flow(record(), "n")["flow"]["extensions"]["value"]


def test_a_malformed_request_has_our_reason_and_none_of_hubbles() -> None:
    body = to_flow(denied(reason=Reason.BAD_HOST, status=400, policy=None), "n")["flow"]

    assert "drop_reason_desc" not in body
    assert body["extensions"]["value"]["reason"] == "bad-host"


@pytest.mark.parametrize(
    ("peer", "label"),
    [(HOST, "reserved:host"), (World(ip_address("192.0.2.1")), "reserved:world")],
)
def test_peers_that_are_no_workload_have_reserved_labels(peer: object, label: str) -> None:
    assert to_flow(record(client=peer), "n")["flow"]["source"]["labels"] == [label]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"/plain", "/plain"),
        (b"/\x1b[31mred", "/\\x1b[31mred"),
        (b"/nul\x00lf\n", "/nul\\x00lf\\n"),
        (b"/\xff\xfe", "/\\xff\\xfe"),
        ("/ä".encode(), "/ä"),
        ("/\u009b31m".encode(), "/\\x9b31m"),
        ("/\u202egpj.exe".encode(), "/\\u202egpj.exe"),
    ],
)
def test_what_cannot_be_shown_safely_is_escaped(raw: bytes, shown: str) -> None:
    assert printable(raw) == shown


def test_a_very_long_target_is_cut() -> None:
    line = LineEncoder("n").encode(record(path=b"/" + b"\xff" * 32768, host=b"\x00" * 32768))

    assert len(line) < 65536


_bytes = st.binary(max_size=40)
_text = st.text(max_size=20)
_endpoints = st.builds(Endpoint, st.ip_addresses(), st.integers(0, 65535))
_peers = st.sampled_from([FRONTEND, USERS, HOST, World(ip_address("2001:db8::1"))])
_records = st.builds(
    record,
    time=st.floats(0, 4e9),
    client=_peers,
    client_endpoint=_endpoints,
    server=_peers,
    destination=_endpoints,
    direction=st.sampled_from(["INGRESS", "EGRESS"]),
    road=st.sampled_from(Road),
    method=_bytes,
    path=_bytes,
    host=_bytes,
    protocol=st.sampled_from(["HTTP/1.0", "HTTP/1.1", ""]),
    status=st.none() | st.integers(100, 599),
    verdict=st.sampled_from(["FORWARDED", "DROPPED", "ERROR"]),
    reason=st.sampled_from(Reason),
    policy=st.none() | _text,
    rule=st.none() | _text,
    backend=st.none() | _endpoints,
    latency_s=st.none() | st.floats(0, 100),
    request_bytes=st.integers(0, 1 << 40),
    response_bytes=st.integers(0, 1 << 40),
    request_id=_bytes,
    logged=st.lists(_text, max_size=2).map(tuple),
)


_redactions = st.builds(
    Redaction, st.sampled_from([frozenset(), frozenset({"x-request-id"})]), st.booleans()
)


@given(st.lists(_records, max_size=8), _text, _redactions)
def test_the_fast_encoder_says_what_to_flow_says(
    records: list, node: str, redaction: Redaction
) -> None:
    encoder = LineEncoder(node, redaction)
    for each in (*records, *records):
        line = encoder.encode(each)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert json.loads(line) == to_flow(each, node, redaction)


SECRET = "s3cret"


@pytest.mark.parametrize(
    ("path", "url"),
    [
        (f"/users?token={SECRET}", "http://users/users"),
        (f"/users#{SECRET}", "http://users/users"),
        ("/users", "http://users/users"),
        (f"http://ann:{SECRET}@b/x?{SECRET}", "http://ann:HUBBLE_REDACTED@b/x"),
        (f"*?{SECRET}", "http://users/*"),
    ],
)
def test_what_is_to_be_redacted_is_nowhere_in_the_line(path: str, url: str) -> None:
    redaction = Redaction(frozenset({"x-request-id"}), query=True)
    asked = record(path=path.encode(), request_id=SECRET.encode())
    line = LineEncoder("n", redaction).encode(asked)

    assert SECRET.encode() not in line
    http = json.loads(line)["flow"]["l7"]["http"]
    assert http["url"] == url
    assert http["headers"] == [{"key": "X-Request-Id", "value": "HUBBLE_REDACTED"}]


def test_a_password_in_a_url_is_never_in_the_line() -> None:
    for path in (f"http://ann:{SECRET}@b/x", f"http://:a:{SECRET}@@b/x"):
        line = LineEncoder("n").encode(denied(path=path.encode(), host=b""))
        assert SECRET.encode() not in line


@pytest.mark.parametrize(
    ("path", "host", "url"),
    [
        (b"/a?u=http://b/", b"users", "http://users/a?u=http://b/"),
        (b"*", b"users", "http://users/*"),
        (b"http://b/users", b"", "http://b/users"),
        (b"b:443", b"", "http://10.0.0.2:80/b:443"),
        (b"", b"", "http://10.0.0.2:80/"),
    ],
)
def test_the_url_is_one_whatever_the_target_was(path: bytes, host: bytes, url: str) -> None:
    asked = record(path=path, host=host)
    assert to_flow(asked, "n")["flow"]["l7"]["http"]["url"] == url
    line = json.loads(LineEncoder("n").encode(asked))
    assert line["flow"]["l7"]["http"]["url"] == url
