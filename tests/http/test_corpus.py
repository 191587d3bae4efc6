"""Every request of the corpus gets the answer that it names, however its bytes are cut."""

from __future__ import annotations

import random

import pytest

from l7proxy.http.framing import CHUNKED
from l7proxy.http.refused import Refused
from tests.http.corpus import Case, load_cases
from tests.http.reading import Reading, cut, read_request

CASES = load_cases()
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def check(case: Case, pieces: list[bytes]) -> None:
    if case.reason is None:
        assert_accepted(case, read_request(pieces))
        return
    with pytest.raises(Refused) as caught:
        read_request(pieces)
    assert caught.value.reason is case.reason
    assert caught.value.location == case.location
    assert "\n" not in caught.value.detail


def assert_accepted(case: Case, reading: Reading) -> None:
    request, expected = reading.request, case.accepted
    assert request.method == expected["method"]
    assert request.path == expected["path"]
    assert request.host == expected["host"]
    framing = b"chunked" if request.framing is CHUNKED else str(request.framing).lower().encode()
    assert framing == expected["framing"]
    assert reading.body == expected.get("body", b"")
    assert reading.rest == b""
    trailers = b" | ".join(b"%b: %b" % trailer for trailer in reading.trailers)
    assert trailers == expected.get("trailers", b"")
    if "upgrade" in expected:
        assert (request.upgrade or b"none") == expected["upgrade"]
    if "keep-alive" in expected:
        assert request.keep_alive is (expected["keep-alive"] == b"yes")
    if "expects-continue" in expected:
        assert request.expects_continue is (expected["expects-continue"] == b"yes")


@each_case
def test_whole(case: Case) -> None:
    check(case, [case.wire])


@each_case
def test_byte_by_byte(case: Case) -> None:
    check(case, [case.wire[at : at + 1] for at in range(len(case.wire))])


@each_case
def test_cut_at_random(case: Case) -> None:
    source = random.Random(case.id)
    for _ in range(10):
        places = source.sample(range(len(case.wire) + 1), k=min(4, len(case.wire)))
        check(case, cut(case.wire, places))


def test_every_reason_of_a_malformed_request_has_a_case() -> None:
    refused = {case.reason for case in CASES if case.reason is not None}
    wanted = {
        "bad-request-line bad-target bad-path-encoding bad-line-end bad-header-name "
        "bad-header-value line-folding bad-host bad-content-length length-and-coding "
        "coding-on-http10 bad-chunk bad-trailer bytes-before-upgrade not-http method-connect "
        "target-too-long head-too-large bad-coding bad-version escaped-slash"
    }
    assert {str(reason) for reason in refused} == set(" ".join(wanted).split())


def test_the_corpus_holds_what_was_promised() -> None:
    assert sum(case.reason is not None for case in CASES) >= 60
    assert sum(case.reason is None for case in CASES) >= 40
