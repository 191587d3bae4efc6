"""Answers that are as long as what they refuse, read as clients read them."""

from __future__ import annotations

import http.client
import io

import pytest

from l7proxy.http.answers import answer
from l7proxy.http.in_place import filled, forms
from l7proxy.reasons import Reason

ANSWERED = [reason for reason in Reason if reason.status and reason is not Reason.ESCAPED_SLASH]


class Wire:
    """What http.client takes for a socket."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.data)


def read(data: bytes, method: str = "GET") -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(Wire(data), method=method)  # type: ignore[arg-type]
    response.begin()
    return response


@pytest.mark.parametrize("reason", ANSWERED, ids=lambda reason: reason.value)
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_every_size_is_one_whole_answer(reason: Reason, keep: bool, head: bool) -> None:
    text = answer(reason, keep_alive=keep, head=head)
    whole = read(text, "HEAD" if head else "GET")
    body = whole.read()
    shortest = min(form.least for form in forms(reason, keep_alive=keep, head=head))
    for size in [*range(shortest, 600), 1100, 1300, 2000, 9000, 40_000, 65_535]:
        data = filled(reason, size, keep_alive=keep, head=head)
        assert data is not None
        assert len(data) == size
        if size > 60_000 and head:
            continue  # longer than http.client takes a line to be
        response = read(data, "HEAD" if head else "GET")
        assert response.status == whole.status
        assert response.reason in (whole.reason, "")
        if response.getheaders():
            assert response.will_close == whole.will_close
        for name, value in response.getheaders():
            assert name == "Content-Length" or value == whole.getheader(name)
        content = response.read()
        assert content.split() in (body.split(), [])
        assert data.endswith(content)
        if size >= len(text):
            assert content.split() == body.split()
            assert {name for name, _ in response.getheaders()} == {
                name for name, _ in whole.getheaders()
            }


def test_the_answer_itself_where_it_fits() -> None:
    """Spaces aside it is what the proxy sends."""
    reason = Reason.NO_RULE_MATCHED
    text = answer(reason)
    assert filled(reason, len(text), keep_alive=False, head=False) == text
    data = filled(reason, len(text) + 300, keep_alive=False, head=False)
    assert data is not None
    assert data.replace(b"Forbidden" + 300 * b" ", b"Forbidden") == text


def test_too_few_bytes_are_not_answered() -> None:
    for keep, least in ((False, 17), (True, 36)):
        assert filled(Reason.NO_RULE_MATCHED, least - 1, keep_alive=keep, head=False) is None
        assert filled(Reason.NO_RULE_MATCHED, least, keep_alive=keep, head=False) is not None
