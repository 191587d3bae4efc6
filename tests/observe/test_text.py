from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7proxy.observe import text
from l7proxy.observe.accesslog import LineEncoder
from l7proxy.observe.flows import lost_line
from l7proxy.observe.seen import LineError, Seen, read
from l7proxy.observe.text import Style
from tests.observe.records import denied, record

PUBLISHED = [
    read(line)
    for line in (Path(__file__).parent / "hubble" / "flows.jsonl").read_bytes().splitlines()
]
IPV6, XWING, DROP, KAFKA = PUBLISHED
PLAIN = Style()


def seen(line: bytes | dict[str, Any]) -> Seen:
    return read(line if isinstance(line, bytes) else json.dumps(line).encode())


def test_the_text_is_that_of_hubbles_own_printer() -> None:
    """The expectations of its test of that flow."""
    flow = dict(DROP.document["flow"])
    assert text.compact(DROP, PLAIN) == (
        "Jan  1 00:20:34.567: 1.1.1.1:31793 (health) -> 2.2.2.2:8080 (ID:12345) "
        "Policy denied DROPPED (TCP Flags: SYN)"
    )
    assert text.compact(DROP, Style(node=True)).startswith("Jan  1 00:20:34.567 [k8s1]: ")
    assert text.compact(seen({"flow": flow | {"is_reply": True}}), PLAIN) == (
        "Jan  1 00:20:34.567: 2.2.2.2:8080 (ID:12345) <- 1.1.1.1:31793 (health) "
        "Policy denied DROPPED (TCP Flags: SYN)"
    )
    verdict = {"event_type": {"type": 5}, "traffic_direction": "EGRESS", "is_reply": None}
    assert text.compact(seen({"flow": flow | verdict}), PLAIN) == (
        "Jan  1 00:20:34.567: 1.1.1.1:31793 (health) <> 2.2.2.2:8080 (ID:12345) "
        "policy-verdict:none EGRESS DENIED (TCP Flags: SYN)"
    )
    assert text.compact(DROP, Style(colour=True)) == (
        "Jan  1 00:20:34.567: \x1b[36m1.1.1.1:\x1b[33m31793\x1b[0m\x1b[0m "
        "\x1b[35m(health)\x1b[0m -> "
        "\x1b[36m2.2.2.2:\x1b[33m8080\x1b[0m\x1b[0m \x1b[35m(ID:12345)\x1b[0m Policy denied "
        "\x1b[31mDROPPED\x1b[0m (TCP Flags: SYN)"
    )
    assert text.block(DROP, Style(node=True)) == (
        "  TIMESTAMP: Jan  1 00:20:34.567\n"
        "       NODE: k8s1\n"
        "     SOURCE: 1.1.1.1:31793\n"
        "DESTINATION: 2.2.2.2:8080\n"
        "       TYPE: Policy denied\n"
        "    VERDICT: DROPPED\n"
        "    SUMMARY: TCP Flags: SYN"
    )
    assert text.table([text.headings(PLAIN), text.columns(DROP, PLAIN)]) == [
        "TIMESTAMP             SOURCE          DESTINATION    TYPE            VERDICT   SUMMARY",
        "Jan  1 00:20:34.567   1.1.1.1:31793   2.2.2.2:8080   Policy denied   DROPPED   "
        "TCP Flags: SYN",
    ]


def test_flows_that_hubble_exports_read_well() -> None:
    assert text.compact(XWING, PLAIN) == (
        "Aug 21 12:12:18.510: default/xwing:44916 <> default/deathstar-7848d6c4d5-th9v2:80 "
        "Policy denied DROPPED ()"
    )
    assert "fe80::64d8:8aff:fe72:fc14 <> ff02::2 Invalid source ip" in text.compact(IPV6, PLAIN)
    assert "kafka-request DROPPED (Kafka request 1234" in text.compact(KAFKA, PLAIN)


def test_our_own_records_are_lines_as_hubbles() -> None:
    served = seen(LineEncoder("worker-1").encode(record()))
    refused = seen(LineEncoder("worker-1").encode(denied(policy=None)))
    assert text.compact(served, PLAIN) == (
        "Sep 21 14:13:20.250: default/frontend:40000 -> default/users:80 http-response FORWARDED"
        " (HTTP/1.1 200 2ms (GET http://users/users?page=1))"
    )
    assert text.compact(refused, PLAIN) == (
        "Sep 21 14:13:20.250: default/frontend:40000 -> default/users:80 http-request DROPPED"
        " (HTTP/1.1 GET http://users/users?page=1)"
    )
    named = Style(policies=True)
    assert "FORWARDED BY default/users-api list (" in text.compact(served, named)
    assert "DROPPED BY no policy: no-rule-matched (" in text.compact(refused, named)


def test_lost_records_are_told_as_hubble_tells_them() -> None:
    lost = seen(lost_line("worker-1", 7, 1790000000.0))
    assert text.compact(lost, PLAIN) == "EVENTS LOST: OBSERVER_EVENTS_QUEUE CPU(0) 7"
    assert text.columns(lost, PLAIN) == [
        "", "OBSERVER_EVENTS_QUEUE", "", "EVENTS LOST", "", "CPU(0) - 7",
    ]  # fmt: skip
    assert len(text.columns(lost, Style(node=True))) == len(text.headings(Style(node=True)))
    assert "SUMMARY: CPU(0) - 7" in text.block(lost, PLAIN)


def test_an_explanation_is_put_where_other_readers_pass_over_it() -> None:
    told = {"nearest": "a rule"}
    for each in (XWING, seen(LineEncoder("n").encode(denied()))):
        document = text.with_explanation(each.document, told)
        assert document["flow"]["extensions"]["value"]["explanation"] == told
        assert "explanation" not in json.dumps(each.document)
    for odd in ({"flow": {"extensions": 1}}, {"flow": {}}, {"lost_events": {}}):
        assert text.with_explanation(odd, {}) == odd


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"flow": 1}', "flow is not an object"),
        (b'{"flow": {"a": NaN}}', "NaN is no number that"),
        (b'{"flow": {"a": 1e999}}', "1e999 is no number that"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfe{}", "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b" " * (1 << 20) + b"{}", "longer than"),
    ],
)
def test_a_line_that_is_no_record_says_why(line: bytes, message: str) -> None:
    with pytest.raises(LineError, match=message):
        read(line)


HOSTILE = (
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\r\nSet: x", "\x00\x7f\x9b31m", "\u202egpj.exe",
    "\ud800", "<script>alert(1)</script>", "\"';--", "\u2028", "a" * 300, "\t",
)  # fmt: skip
_hostile = st.sampled_from(HOSTILE)
_values = st.recursive(
    _hostile
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False, width=16),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_hostile, inner, max_size=2),
    max_leaves=4,
)
_end = st.fixed_dictionaries(
    {},
    optional={
        "namespace": _values,
        "pod_name": _values,
        "labels": _values,
        "identity": _values,
    },
)
_flow = st.fixed_dictionaries(
    {},
    optional={
        "time": _values,
        "verdict": _values,
        "IP": st.fixed_dictionaries({"source": _values, "destination": _values}) | _values,
        "ethernet": st.fixed_dictionaries({"source": _values}),
        "l4": st.fixed_dictionaries({"TCP": st.fixed_dictionaries({"source_port": _values})}),
        "source": _end | _values,
        "destination": _end,
        "source_names": st.lists(_values, max_size=2),
        "destination_service": st.fixed_dictionaries({"name": _values}),
        "l7": st.fixed_dictionaries({"type": _values, "dns": _values}) | _values,
        "event_type": st.fixed_dictionaries(
            {"type": st.sampled_from([1, 4, 5]), "sub_type": _values}
        ),
        "policy_match_type": _values,
        "traffic_direction": _values,
        "drop_reason_desc": _values,
        "ingress_denied_by": st.lists(
            st.fixed_dictionaries({"name": _values, "labels": _values}), max_size=2
        ),
        "is_reply": _values,
        "node_name": _values,
        "Summary": _values,
        "extensions": st.fixed_dictionaries({"value": _values}),
    },
)
_documents = st.fixed_dictionaries({"flow": _flow}) | st.fixed_dictionaries(
    {"lost_events": st.dictionaries(st.sampled_from(["source", "cpu", "num_events_lost"]), _values)}
)


@given(_documents)
def test_whatever_a_line_holds_no_terminal_obeys_it(document: dict[str, Any]) -> None:
    each = seen(document)
    style = Style(node=True, policies=True)
    lines = [
        text.compact(each, style),
        *text.block(each, style).split("\n"),
        *text.table([text.headings(style), text.columns(each, style)]),
        text.as_json(each.document),
    ]
    assert len(text.block(each, style).split("\n")) == len(text.fields(each, style))
    for line in lines:
        assert line.isprintable()
    assert lines[-1].isascii()
    assert json.loads(lines[-1]) == each.document
