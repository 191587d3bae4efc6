"""The automaton feeds the tables of the rules: which rules match is what they say of the parsed
request."""

from __future__ import annotations

from itertools import cycle, product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from l7proxy.compiler.admission import compile_admission
from l7proxy.compiler.errors import Unsupported
from l7proxy.compiler.execute import satisfied
from l7proxy.compiler.head_actions import MAX_WATCHED
from l7proxy.compiler.head_meaning import Undecided
from l7proxy.compiler.head_request import request_grammar
from l7proxy.compiler.head_sides import RequestMachine
from l7proxy.policy.model import Direction, HeaderRule, HttpRule
from l7proxy.policy.verdict import Admission, HttpLayer
from l7proxy.reasons import Reason
from tests.compiler.head_reading import LIMITS, Story, request_by_http, request_by_machine
from tests.http.reading import cut


def of(*rules: HttpRule) -> Admission:
    return Admission(True, Reason.HTTP_RULES, layers=(HttpLayer(Direction.INGRESS, rules),))


def rule(
    method: str | None = None, path: str | None = None, host: str | None = None, **headers: str
) -> HttpRule:
    conditions = tuple(
        HeaderRule(name.replace("_", "-").encode(), value.encode() or None)
        for name, value in headers.items()
    )
    return HttpRule("p", "r", method=method, path=path, host=host, headers=conditions)


PLAIN = of(
    rule("GET|HEAD", "/users(/.*)?"),
    rule("OPTIONS", r"\*"),
    rule(path=r"/[^?]*\?a=b//\.\."),
    rule(host="users(:80)?"),
    rule(host=r"\[::1\]:8080"),
    rule(host=""),
    rule("POST", x_key="a b"),
    rule(x_key=""),
    rule(x_tier="gold"),
    rule(),
)
SPECIAL = of(
    rule(content_length="5"),
    rule(content_length=""),
    rule(transfer_encoding="Chunked"),
    rule(connection="close"),
    rule(connection="keep-alive,  x"),
    rule(upgrade="websocket"),
    rule(upgrade=""),
    rule(expect="100-continue"),
    rule(authorization="Basic x"),
    rule(te="trailers"),
)
METHODS = (b"GET", b"HEAD", b"POST", b"OPTIONS", b"GETS")
TARGETS = (b"/users", b"/users/1", b"/", b"*", b"/x?a=b//..", b"/users?x")
FIELDS = (
    *(
        b"X-Key: a b",
        b"x-key:a b\t ",
        b"X-KEY: \t a b",
        b"X-Key: a  b",
        b"X-Key:",
        b"X-Key: \t",
    ),
    *(b"X-Keys: a b", b"X-Ke: a b", b"X-Tier:gold", b"X-Tier: \xff", b"Accept: a b"),
    *(b"Content-Length: 5", b"Content-Length:5 ", b"Content-Length: 05", b"TE: trailers"),
    *(b"Transfer-Encoding: Chunked", b"Transfer-Encoding: chunked", b"Expect:100-continue \t"),
    *(b"Connection: close", b"Connection:keep-alive,  x\t", b"Connection: x-key, close"),
    *(b"Connection: upgrade", b"Connection:", b"Upgrade: websocket", b"Upgrade: h2c"),
    *(
        b"Authorization: Basic x ",
        b"Connection: expect",
        b"Connection: upgrade ,te, keep-alive",
    ),
)
HOSTS = (b"users", b"USERS:80", b" [::1]:8080 ", b"other")


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    fields = [
        b"Host:" + draw(st.sampled_from(HOSTS)),
        *draw(st.lists(st.sampled_from(FIELDS), max_size=4)),
    ]
    if draw(st.booleans()):
        fields.append(fields.pop(0))
    version = draw(st.sampled_from([b" HTTP/1.1\r\n", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n"]))
    line = draw(st.sampled_from(METHODS)) + b" " + draw(st.sampled_from(TARGETS)) + version
    return line + b"".join(each + b"\r\n" for each in fields) + b"\r\n"


def check(admission: Admission, pieces: list[bytes]) -> tuple[Story, int]:
    """The story of the automaton, and how many requests both saw."""
    tables = compile_admission(admission)
    _, parsed = request_by_http(b"".join(pieces))
    story, heads = request_by_machine(pieces, RequestMachine(LIMITS, tables))
    assert len(heads) <= len(parsed)
    for head, request in zip(heads, parsed, strict=False):
        assert head.matched == satisfied(tables, request)
    return story, len(heads)


@pytest.mark.parametrize("admission", [PLAIN, SPECIAL], ids=["plain", "special"])
@given(st.lists(requests(), min_size=1, max_size=3).map(b"".join), st.lists(st.integers(0, 300)))
@settings(max_examples=200)
@example(b"GET /users HTTP/1.0\r\n\r\n", [3])
def test_rules_match_as_they_do_the_parsed_request(
    admission: Admission, wire: bytes, places: list[int]
) -> None:
    check(admission, cut(wire, [min(place, len(wire)) for place in places]))
    check(admission, [wire[at : at + 1] for at in range(len(wire))])


@pytest.mark.parametrize("admission", [PLAIN, SPECIAL], ids=["plain", "special"])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_rules_match_with_every_two_fields(admission: Admission, method: bytes) -> None:
    tables = compile_admission(admission)
    for host, pair in zip(cycle(HOSTS), product(FIELDS, FIELDS), strict=False):
        wire = method + b" / HTTP/1.1\r\nHost:" + host + b"\r\n" + b"\r\n".join(pair)
        wire += b"\r\n\r\n"
        _, parsed = request_by_http(wire)
        _, heads = request_by_machine([wire], RequestMachine(LIMITS, tables))
        assert len(heads) <= len(parsed)
        assert not heads or heads[0].matched == satisfied(tables, parsed[0])


GET = b"GET / HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        (b"X-Key: a\r\nx-key: a\r\n", Undecided.REPEATED),
        (b"X-Other: a\r\nX-Other: a\r\n", None),
        (b"X-Key: a\r\nConnection: close, X-Key\r\n", Undecided.NAMES_WATCHED),
        (b"Connection: x-key\r\n", Undecided.NAMES_WATCHED),
        (b"Connection: x-other\r\n", None),
        (b"Connection: x-keys\r\n", None),
        (b"Connection: te\r\n", None),
        (b"Connection: expect\r\n", Undecided.NAMES_WATCHED),
        (b"X-Key: a\r\nX-Key: a\r\nConnection: host\r\n", Reason.BAD_HEADER_VALUE),
    ],
)
def test_what_rules_cannot_be_asked_about(fields: bytes, cause: object) -> None:
    story, seen = check(PLAIN, [GET + fields + b"\r\n"])
    assert story.cause is cause
    assert seen == (cause is None)


def test_trailers_are_not_what_rules_look_at() -> None:
    wire = GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Key: a b\r\n\r\n"
    story, seen = check(PLAIN, [wire + GET + b"\r\n"])
    assert (story.cause, seen, story.whole) == (None, 2, 2)


def test_a_trailer_that_is_forbidden_stays_so_when_rules_look_at_it() -> None:
    wire = GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: x\r\n\r\n"
    assert check(SPECIAL, [wire])[0].cause is Reason.BAD_TRAILER


def test_an_upgrade_that_is_not_offered_is_absent() -> None:
    tables = compile_admission(SPECIAL)
    offer = b"Upgrade: websocket\r\n"
    for fields, matched in ((b"Connection: upgrade\r\n", 0b0001100000), (b"", 0)):
        events = RequestMachine(LIMITS, tables).feed(GET + offer + fields + b"\r\n")
        assert events[0].matched & 0b0001100000 == matched


HOST_AS_HEADER = HttpRule("p", "r", headers=(HeaderRule(b"host", b"x"),))


def test_headers_beyond_what_a_head_can_feed() -> None:
    names = tuple(b"x-%d" % number for number in range(MAX_WATCHED + 1))
    assert len(request_grammar(names[:-1]).present) == MAX_WATCHED
    with pytest.raises(Unsupported, match=f"limit is {MAX_WATCHED}"):
        request_grammar(names)
    with pytest.raises(Unsupported, match="Host as a header"):
        RequestMachine(LIMITS, compile_admission(of(rule(host="a"), HOST_AS_HEADER)))
