"""Flow records: what one road wrote and what anybody wrote, read by everything that reads them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from l7proxy.http.refused import Refused
from l7proxy.http.request import parse_request
from l7proxy.limits import Limits
from l7proxy.observe import text, times
from l7proxy.observe.accesslog import LineEncoder
from l7proxy.observe.filters import FILTERS, Filters
from l7proxy.observe.flows import DROPPED, Redaction, to_flow
from l7proxy.observe.glimpse import glimpse
from l7proxy.observe.seen import LineError, Seen, read
from l7proxy.policy.documents import load_paths
from l7proxy.reasons import Reason
from l7proxy.replay import changes
from l7proxy.replay.recorded import NotReplayed, Reader, Recorded
from l7proxy.workloads.directory import Directory
from tests.fuzz.target import Target, check_line
from tests.http.corpus import load_cases
from tests.observe.records import FRONTEND, USERS, record
from tests.replay.flows import hubble, line, ours

ROOT = Path(__file__).parents[2]
LIMITS = Limits()
POLICIES = load_paths([ROOT / "policies", ROOT / "policies/examples"], LIMITS)
WORKLOADS = (FRONTEND, USERS)
STYLE = text.Style(colour=True, node=True, policies=True)
LINE_BYTES = 65536
"""What Hubble's reader of lines takes."""
_VALUES = {
    "pod": "default/users", "namespace": "default", "label": "app=users", "ip": "10.0.0.0/8",
    "port": "80", "verdict": "FORWARDED", "http-method": "GET", "http-path": "/u.*",
    "http-url": "users", "http-status": "2+", "slower": "1ms", "http-header": "x-request-id:",
    "protocol": "http", "type": "l7", "traffic-direction": "ingress",
    "drop-reason-desc": "POLICY_DENIED", "road": "proxy", "reason": "rule-allowed",
    "policy": "users-api", "rule": "list",
}  # fmt: skip


def heads(data: bytes) -> None:
    """A request's head, cut anywhere, as the kernel hands it over: recorded as it was."""
    found = glimpse(data)
    logged = record(
        method=found.method,
        path=found.target,
        host=found.host,
        request_id=found.request_id,
        request_bytes=found.length,
        cut=found.cut,
        verdict=DROPPED,
        reason=Reason.NO_RULE_MATCHED,
    )
    for redaction in (Redaction(), Redaction(frozenset({"x-request-id"}), query=True)):
        written = LineEncoder("n", redaction).encode(logged)
        assert len(written) < LINE_BYTES
        assert written.count(b"\n") == 1
        assert json.loads(written) == to_flow(logged, "n", redaction)
        seen = read(written)
        _check_text(seen)
        recorded = _replayed(seen)
        if recorded is not None and not redaction.query and _is_decided(data):
            assert recorded.method == found.method
            assert recorded.target == found.target
            assert recorded.host == found.host.lower() or not found.host


def _is_decided(head: bytes) -> bool:
    """Whether rules decide the request, whose record can then be replayed."""
    try:
        request = parse_request(head, LIMITS)
    except Refused:
        return False
    return request.path == request.target


def lines(data: bytes) -> None:
    """A line of a file, or of the pipe from another process."""
    report = changes.replay([data], POLICIES, WORKLOADS)
    assert report.replayed + sum(each.count for each in report.untold) == bool(data.strip())
    try:
        seen = read(data)
    except LineError as error:
        assert len(str(error).splitlines()) == 1
        return
    _check_text(seen)
    written = text.as_json(seen.document)
    assert written.isascii()
    check_line(written)
    assert read(written.encode()) == seen
    flow = seen.flow
    if flow is not None:
        for each in _filters():
            each.matches(flow)
        text.with_explanation(seen.document, {"note": "x"})


def _check_text(seen: Seen) -> None:
    for form in times.FORMATS:
        check_line(times.shown(seen.time, form))
    check_line(text.compact(seen, STYLE).replace("\x1b[", ""))
    for cell in text.columns(seen, STYLE):
        check_line(cell)
    for row in text.block(seen, STYLE).split("\n"):
        check_line(row.replace("\x1b[", ""))


def _filters() -> Iterator[Filters]:
    for name in FILTERS:
        filters = Filters()
        filters.add(name, _VALUES[name.removeprefix("from-").removeprefix("to-")])
        yield filters


def _replayed(seen: Seen) -> Recorded | None:
    """The request as ``check --against`` reads it."""
    reader = Reader(Directory(WORKLOADS), frozenset({b"x-request-id"}), hosts_matter=True)
    with contextlib.suppress(NotReplayed):
        return reader.read(seen.document)
    return None


def head_seeds() -> Iterator[bytes]:
    for case in load_cases():
        if len(case.wire) <= HEADS.most_bytes:
            yield case.wire


def line_seeds() -> Iterator[bytes]:
    for document in (ours(), ours(verdict=DROPPED, reason=Reason.NO_RULE_MATCHED), hubble()):
        yield line(document)
        yield line(document["flow"])
    yield from (ROOT / "tests/observe/hubble/flows.jsonl").read_bytes().splitlines()


HEAD_TOKENS = (
    *(b"GET ", b" HTTP/1.1\r\n", b"\r\nHost: ", b"\r\nX-Request-Id: ", b"\r\nContent-Length: "),
    *(b"http://u:p@a/", b"\\", b"\x1b[31m", b"\xc2\x9b", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"%2f"),
    *(b"HUBBLE_REDACTED", b"://", b"?", b"#", b"\n", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80"),
)
LINE_TOKENS = (
    *(f'"{key}":'.encode() for key in ours()["flow"]),
    *b'"http": "url": "method": "headers": "key": "value": "code": "latency_ns":'.split(b" "),
    *b'"labels": "namespace": "pod_name": "identity": "TCP": "destination_port":'.split(b" "),
    *b'"lost_events": "num_events_lost": "cpu": "source": null true [] {} [[ 1e999 NaN'.split(b" "),
    *(
        b'"\\ud800"',
        b'"\\u001b["',
        b'"reserved:world"',
        b'"http://a/"',
        b'"10.0.0.1"',
        b'"k8s:a=b"',
    ),
    *(b'"FORWARDED"', b'"DROPPED"', b'"ERROR"', b'"AUDIT"', b"123456789012345678901234567890"),
)

HEADS = Target(heads, head_seeds, HEAD_TOKENS, most_bytes=1024)
LINES = Target(lines, line_seeds, LINE_TOKENS, most_bytes=4096)
