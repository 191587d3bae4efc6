"""One meaning: what the executor says of a stream of requests is what comes of it, on every way.

Seen to fail, with the eBPF programs changed: 90 fields as the limit, and the host looked at before
the target, in bpf/meaning.h; what is blocked, or has a bare LF, passed on in bpf/arrival.c; a
refusal answered at once although answers are owed, and ``bpf_msg_apply_bytes(msg, 0)`` left out,
in bpf/request.c; content expected of an answer to HEAD in bpf/response.c; block rules taken for
others in bpf/verdict.h. The last test fails where an answer counts as given before it is delivered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.http.corpus import Case as CorpusCase
from tests.kernel.case import Case, Outcome, run
from tests.kernel.differences import Difference, Way
from tests.kernel.play import Conduct
from tests.kernel.stage import Stage, staged
from tests.kernel.vectors import CORPUS, Cut, cases

pytestmark = pytest.mark.needs_ebpf

GET = b"GET /a HTTP/1.1\r\nHost: users\r\n\r\n"
DENIED = b"GET /~ HTTP/1.1\r\nHost: users\r\n\r\n"
HEAD_DENIED = b"HEAD /~ HTTP/1.1\r\nHost: users\r\n\r\n"
OLD = b"GET /a HTTP/1.0\r\nHost: users\r\nConnection: keep-alive\r\n\r\n"
OLD_DENIED = b"GET /~ HTTP/1.0\r\nHost: users\r\nConnection: keep-alive\r\n\r\n"

COVERED = ("pod", "guest")
ROADS = (*COVERED, "outside", "proxied")
WAYS = {"outside": {Way.TCP}, "proxied": {Way.PROXY}}

seen: Counter[tuple[Way, Difference]] = Counter()
"""The named differences of all tests."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


def played(stage: Stage, case: Case) -> Outcome:
    outcome = run(stage, case)
    assert outcome.way in WAYS.get(case.road, {Way.REDIRECT, Way.MIXED})
    seen.update((outcome.way, name) for name in outcome.names)
    return outcome


def post(path: bytes, size: int, *fields: bytes) -> bytes:
    """The head of a POST with content of ``size`` bytes."""
    lines = (b"POST " + path + b" HTTP/1.1", b"Host: users", b"Content-Length: %d" % size, *fields)
    return b"\r\n".join(lines) + b"\r\n\r\n"


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.id)
def test_corpus(stage: Stage, case: CorpusCase) -> None:
    """Whole, in small pieces, and behind another request; often enough to be known."""
    made: list[Sequence[bytes]] = [[case.wire], [GET, case.wire]]
    for cut in (Cut.bytewise, Cut.line_ends, Cut.heads):
        made.append(cut([case.wire]))
    for pieces in made:
        for road in ROADS:
            played(stage, Case(road, Conduct.LOCKSTEP, tuple(pieces)))
    for road in ROADS:
        played(stage, Case(road, Conduct.HELD, (GET + case.wire,)))
    for road in ("pod", "outside"):
        for _ in range(3):
            played(stage, Case(road, Conduct.LOCKSTEP, (case.wire,)))


@pytest.mark.parametrize("road", ROADS)
def test_generated(stage: Stage, road: str) -> None:
    @given(cases(road))
    @settings(
        max_examples=200,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to make a case small that hangs takes minutes: fuzz.py does
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    def check(case: Case) -> None:
        played(stage, case)

    check()


ONE = st.sampled_from([GET, DENIED, HEAD_DENIED, OLD, OLD_DENIED, post(b"/~", 0)])


@pytest.mark.parametrize("conduct", [Conduct.LOCKSTEP, Conduct.HELD])
@pytest.mark.parametrize("road", COVERED)
def test_whole_messages_are_as_if_there_was_no_kernel(
    stage: Stage, road: str, conduct: Conduct
) -> None:
    """Pipelines of up to four refusals a message: no difference at all."""

    @given(st.lists(st.lists(ONE, min_size=1, max_size=4).map(b"".join), min_size=1, max_size=8))
    @settings(max_examples=60, deadline=None, database=None)
    def check(pieces: list[bytes]) -> None:
        assert played(stage, Case(road, conduct, tuple(pieces))) == Outcome(
            Way.REDIRECT, frozenset()
        )

    check()


@pytest.mark.parametrize("road", ROADS)
def test_the_connection_goes_on_after_refusals(stage: Stage, road: str) -> None:
    outcome = played(stage, Case(road, Conduct.LOCKSTEP, (GET, DENIED) * 25 + (GET,)))
    assert outcome.names == ({Difference.CLOSES} if road == "outside" else set())


BODIES: dict[str, Callable[[], Sequence[bytes]]] = {
    "refused-later": lambda: [post(b"/~;", 5), b"he", b"llo", GET],
    "refused-with-the-next": lambda: [post(b"/~;", 5), b"hello" + GET, GET],
    "refused-large": lambda: [post(b"/~;", 60_000) + b"x" * 20_000, b"x" * 40_000, GET],
    "refused-too-large": lambda: [post(b"/~;", 70_000) + b"x" * 20, b"x" * 69_980, GET],
    "refused-expecting": lambda: [post(b"/~;", 5, b"Expect: 100-continue"), GET],
    "refused-chunked": lambda: [
        b"POST /; HTTP/1.1\r\nHost: users\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n0\r\n\r\n",
        GET,
    ],
    "refused-is-a-request": lambda: [post(b"/;", len(GET)), GET, DENIED, GET],
    "expecting": lambda: [post(b"/a", 5, b"Expect: 100-continue"), b"hello", GET],
    "large": lambda: [post(b"/a", 200_000), *[b"y" * 20_000] * 10, GET],
    "large-at-once": lambda: [post(b"/a", 50_000) + b"y" * 50_000 + GET, DENIED, GET],
    "is-a-request": lambda: [post(b"/a", len(DENIED)) + DENIED, GET],
    "is-a-request-later": lambda: [post(b"/a", 2 * len(DENIED)), DENIED, DENIED, GET],
}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("pieces", BODIES.values(), ids=BODIES)
def test_content(stage: Stage, road: str, pieces: Callable[[], Sequence[bytes]]) -> None:
    for conduct in (Conduct.LOCKSTEP, Conduct.HELD):
        played(stage, Case(road, conduct, tuple(pieces())))


@pytest.mark.parametrize("road", ROADS)
def test_large_heads(stage: Stage, road: str) -> None:
    for size in (1000, 5000, 20_000, 32_500, 33_000):
        head = GET[:-2] + b"X-Long: " + b"x" * size + b"\r\n\r\n"
        played(stage, Case(road, Conduct.LOCKSTEP, (head, GET)))
        played(stage, Case(road, Conduct.LOCKSTEP, (head[:700], head[700:] + GET)))
    played(stage, Case(road, Conduct.LOCKSTEP, (b"GET /" + b"t" * 8300 + GET[6:],)))


@pytest.mark.parametrize("road", ROADS)
def test_more_refusals_in_a_message_than_are_answered_by_themselves(
    stage: Stage, road: str
) -> None:
    for count in (4, 5, 9):
        outcome = played(stage, Case(road, Conduct.HELD, (GET + DENIED * count + GET,)))
        assert outcome.names <= {Difference.CROWDED, Difference.CLOSES, Difference.BLANKED}
        if count <= 4 or road == "proxied":
            assert Difference.CROWDED not in outcome.names


def test_every_way_was_taken(stage: Stage) -> None:
    before = stage.counters()
    for road in ROADS:
        played(stage, Case(road, Conduct.LOCKSTEP, (GET, DENIED)))
        played(stage, Case(road, Conduct.HELD, (GET + DENIED,)))
    risen = stage.counters() - before
    assert (risen["kernel"], risen["ingress_steered"]) == (6, 2)
    assert risen["requests_redirected"] == 4
    assert risen["answered_by_redirect"] == 2
    assert risen["answered_by_tcp"] == 1
    assert risen["answered_in_turn"] == 3


def test_nothing_went_wrong_unseen(stage: Stage) -> None:
    found = stage.counters()
    for name in ("bypass_stopped", "not_judged", "doomed_unrecorded", "enrol_failed"):
        assert found[name] == 0, name


def test_the_differences_are_those_of_the_ways() -> None:
    """Each has been seen on a way that it belongs to, or on none."""
    by_tcp = {Difference.CLOSES, Difference.AHEAD, Difference.UNANSWERED_BREAK}
    by_tcp |= {Difference.LOST_BEFORE_BREAK, Difference.HASTY, Difference.UPGRADE_IN_DOUBT}
    by_proxy = {Difference.EARLY_BYTES, Difference.TIMING, Difference.RESET}
    for way, name in seen:
        assert name not in by_tcp or way in (Way.TCP, Way.MIXED)
        assert name not in by_proxy or way is Way.PROXY


@pytest.mark.parametrize("road", COVERED)
def test_our_answer_does_not_overtake_the_servers(stage: Stage, road: str) -> None:
    """A client that sends its next request while the server is answering."""
    for _ in range(1500):
        played(stage, Case(road, Conduct.FREE, (GET, DENIED)))


UPGRADE = b"Connection: upgrade\r\nUpgrade: websocket\r\n"
HEAD_WITH_UPGRADE = b"HEAD /b-c/b-c/ HTTP/1.1\r\nHost: users\r\n" + UPGRADE + b"\r\n"
CHAT = b"GET /chat HTTP/1.1\r\nHost: users\r\n" + UPGRADE + b"Sec-WebSocket-Key: x\r\n\r\n"
LARGE_REFUSED = b"GET /~ HTTP/1.1\r\nHost: users\r\nContent-Length: 3000\r\n\r\n" + b"z" * 3000
FOUND = {
    "the answer to a HEAD that offers an upgrade has no content": (
        Conduct.LOCKSTEP,
        (HEAD_WITH_UPGRADE, b"GET /a HTTP/1.1\r\nHost: [::1.2.3.4]\r\n\r\n", GET),
    ),
    "chunks end the connection of a client of HTTP/1.0 at the proxy": (
        Conduct.LOCKSTEP,
        (b"GET /a/..a HTTP/1.0\r\nHost: users\r\nConnection: keep-alive\r\n\r\n", GET),
    ),
    "some offers are answered before the next one, and some are not": (Conduct.HASTY, (CHAT,) * 3),
    "what is sent while our answer leaves may be reset": (
        Conduct.HELD,
        (LARGE_REFUSED, GET, b"GET /~ HTTP/1.1\r\nHost: users\r\n\r\n"),
    ),
}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize(("conduct", "pieces"), FOUND.values(), ids=FOUND)
def test_found_by_fuzzing(
    stage: Stage, road: str, conduct: Conduct, pieces: tuple[bytes, ...]
) -> None:
    """What the long form has met."""
    for eager in (False, True):
        played(stage, Case(road, conduct, pieces, eager))
