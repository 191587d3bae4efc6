"""One request on the kernel road, and what its client is told."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings

from l7proxy.compiler.admission import compile_admission
from l7proxy.compiler.head_meaning import Undecided, refusal
from l7proxy.compiler.judge import judge
from l7proxy.http.request import parse_request
from l7proxy.limits import Limits
from l7proxy.policy.decide import decide
from l7proxy.policy.model import HeaderRule, HttpRule
from l7proxy.policy.verdict import Action, Admission
from l7proxy.reasons import Reason
from tests.compiler.test_execute import admissions, of, requests
from tests.policy.support import Request

TABLES = compile_admission(of(HttpRule("p", "0", path="/.*", headers=(HeaderRule(b"x-key"),))))


@settings(max_examples=150, deadline=None)
@given(admissions, requests)
def test_the_verdict_is_that_of_the_reference(admission: Admission, asked: Request) -> None:
    assume(asked.path.startswith(b"/") and asked.host)
    head = b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (asked.method, asked.path, asked.host)
    for name, value in asked.headers.items():
        head += b"%s: %s\r\n" % (name, value)
    judged = judge(head + b"\r\n", compile_admission(admission), Limits())
    if judged.understood:
        parsed = parse_request(head + b"\r\n", Limits())
        assert judged.verdict == decide(admission, parsed, ())
    else:
        assert judged.verdict.reason is Reason.PATH_NOT_NORMAL
        assert b"%" in asked.path


@pytest.mark.parametrize("cause", [*Undecided, *Reason])
def test_every_refusal_has_a_reason_with_an_answer(cause: Reason | Undecided) -> None:
    reason = refusal(cause)
    assert reason.status == 400 or reason is cause


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (b"GET /a/../b HTTP/1.1\r\nHost: a", Reason.PATH_NOT_NORMAL),
        (b"GET /a%2fb HTTP/1.1\r\nHost: a", Reason.PATH_NOT_NORMAL),
        (b"GET http://a/ HTTP/1.1\r\nHost: a", Reason.ABSOLUTE_FORM),
        (b"GET / HTTP/1.1\r\nHost: [::1.2.3.4]", Reason.BAD_HOST),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-Key: a\r\nX-Key: b", Reason.UNDECIDABLE_HEADER),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Key", Reason.UNDECIDABLE_HEADER),
        (b"GET / HTTP/1.1", Reason.BAD_HOST),
    ],
)
def test_what_is_refused_before_any_rule_is_asked(lines: bytes, reason: Reason) -> None:
    judged = judge(lines + b"\r\n\r\n", TABLES, Limits())
    assert not judged.understood
    assert (judged.verdict.action, judged.verdict.reason) == (Action.BLOCK, reason)


def test_a_head_has_to_be_whole() -> None:
    with pytest.raises(ValueError, match="not whole"):
        judge(b"GET / HTTP/1.1\r\n", TABLES, Limits())
