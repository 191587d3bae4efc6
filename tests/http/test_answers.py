"""Our own responses are whole, say what POLICY.md promises, and are read by others."""

from __future__ import annotations

import pytest

from l7proxy.http.answers import ALLOWED_METHODS, CONTINUE, answer, may_keep_alive
from l7proxy.http.response import parse_response
from l7proxy.limits import Limits
from l7proxy.reasons import Reason
from tests.http.others import response_by_h11

ANSWERED = [reason for reason in Reason if reason.status is not None]


def location_of(reason: Reason) -> bytes | None:
    return b"/a/b?c" if reason is Reason.ESCAPED_SLASH else None


def test_access_denied_to_the_byte() -> None:
    denied = (
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 15\r\n\r\n"
        b"Access denied\r\n"
    )
    assert answer(Reason.RULE_BLOCKED, keep_alive=True) == denied
    assert answer(Reason.NO_RULE_MATCHED, keep_alive=True) == denied


@pytest.mark.parametrize("reason", ANSWERED, ids=str)
@pytest.mark.parametrize("keep_alive", [True, False])
def test_every_reason_has_a_whole_answer(reason: Reason, keep_alive: bool) -> None:
    wire = answer(reason, keep_alive=keep_alive, location=location_of(reason))
    other = response_by_h11(wire, b"GET")
    assert other is not None
    assert other.start == (reason.status,)
    assert (b"content-type", b"text/plain") in other.headers
    assert other.body.endswith(b"\r\n")
    closes = (b"connection", b"close") in other.headers
    assert closes is not (keep_alive and reason.status == 403)
    if reason.status != 403:
        assert other.body.startswith(str(reason).encode() + b": ")


@pytest.mark.parametrize("reason", ANSWERED, ids=str)
def test_head_has_the_same_head_and_no_content(reason: Reason) -> None:
    location = location_of(reason)
    whole = answer(reason, location=location)
    head = answer(reason, location=location, head=True)
    assert whole.startswith(head)
    assert head.endswith(b"\r\n\r\n")
    response = parse_response(head, b"HEAD", Limits())
    assert response.declared_length == len(whole) - len(head)


def test_only_a_denial_keeps_the_connection() -> None:
    assert {reason for reason in Reason if may_keep_alive(reason)} == {
        Reason.RULE_BLOCKED,
        Reason.NO_RULE_MATCHED,
    }


def test_an_http10_client_is_told_that_it_may_go_on() -> None:
    assert b"\r\nConnection: keep-alive\r\n" in answer(
        Reason.RULE_BLOCKED, keep_alive=True, client_minor=0
    )
    assert b"\r\nConnection: close\r\n" in answer(Reason.RULE_BLOCKED, client_minor=0)


def test_fields_that_a_status_requires() -> None:
    assert b"\r\nLocation: /a?b\r\n" in answer(Reason.ESCAPED_SLASH, location=b"/a?b")
    assert b"\r\nAllow: " + ALLOWED_METHODS + b"\r\n" in answer(Reason.METHOD_CONNECT)
    assert b"\r\nRetry-After: 1\r\n" in answer(Reason.NOT_READY)
    with pytest.raises(ValueError, match="location"):
        answer(Reason.ESCAPED_SLASH)


@pytest.mark.parametrize("reason", [r for r in Reason if r.status is None], ids=str)
def test_a_reason_that_is_no_answer(reason: Reason) -> None:
    with pytest.raises(ValueError, match=str(reason)):
        answer(reason)


def test_continue_is_an_interim_response() -> None:
    assert parse_response(CONTINUE, b"POST", Limits()).informational
