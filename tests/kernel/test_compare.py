"""The comparison tells every kind of disagreement, and lets pass only what has a name.

Seen to fail: with ``_ahead`` allowing ``decided`` bytes a whole refused head passes; without the
look at ``rest`` in ``_nothing_left`` a second answer does; ``by_tables`` fed with the pieces of
another policy is caught by ``check_tables``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from l7proxy.compiler.admission import compile_admission
from l7proxy.http.answers import CONTINUE, answer
from l7proxy.http.in_place import filled
from l7proxy.policy.decide import Decider
from l7proxy.policy.model import Direction, HttpRule, RuleAction
from l7proxy.policy.verdict import Admission, HttpLayer
from l7proxy.reasons import Reason
from tests.kernel.choices import goes_by_redirect, steps
from tests.kernel.compare import HANG, RESET, Disagreement, Message, Seen, agree, compare
from tests.kernel.differences import Difference, Way
from tests.kernel.replies import reply
from tests.kernel.script import Script, by_parser, by_tables, check_tables

RULES = (
    HttpRule("p", "allow", path="/a.*"),
    HttpRule("p", "block", path="/a/b", action=RuleAction.BLOCK),
)
ADMISSION = Admission(True, Reason.HTTP_RULES, layers=(HttpLayer(Direction.INGRESS, RULES),))
TABLES = compile_admission(ADMISSION)
DECIDE = Decider(ADMISSION, ()).decide

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
OTHER = b"GET /aa HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
DENIED = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
BLOCKED = b"GET /a/b HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN = b"5\r\nhelloX\r\n"
DENIED_POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
UPGRADE = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
ABSOLUTE = b"GET http://a/a HTTP/1.1\r\nHost: a\r\n\r\n"

KEPT = answer(Reason.NO_RULE_MATCHED, keep_alive=True)
CLOSED = answer(Reason.NO_RULE_MATCHED)
BAD_CHUNK = answer(Reason.BAD_CHUNK)


def script(*pieces: bytes) -> Script:
    return by_tables(TABLES, pieces)


def served(wire: bytes) -> bytes:
    """What the server answers to a request."""
    head = script(wire).items[0].head
    assert head is not None
    return reply(head).wire


def told(way: Way, pieces: list[bytes], seen: Seen, *, slow: bool = False, **how: bool) -> set[str]:
    made = script(*pieces) if way.in_kernel else by_parser(DECIDE, pieces)
    plan = list(steps(made, way, pieces, **how))
    return {name.name for name in compare(made, way, plan, seen, slow=slow)}


def disagrees(kind: str, way: Way, pieces: list[bytes], seen: Seen) -> None:
    with pytest.raises(Disagreement) as caught:
        told(way, pieces, seen)
    assert caught.value.kind == kind


def test_scripts() -> None:
    pieces = [GET + BLOCKED, DENIED_POST, b"hello" + LAST, b"GET /a"]
    made = script(*pieces)
    assert [item.refused for item in made.items] == [
        *(None, Reason.RULE_BLOCKED, Reason.NO_RULE_MATCHED, None)
    ]
    wire = b"".join(pieces)
    assert wire[made.rest :] == b"GET /a"
    assert [wire[item.start : item.end] for item in made.items] == [
        *(GET, BLOCKED, DENIED_POST + b"hello", LAST)
    ]
    assert agree(made, by_parser(DECIDE, pieces)) == set()
    check_tables(TABLES, made, DECIDE)


@pytest.mark.parametrize(
    ("wire", "name"),
    [
        (ABSOLUTE, "ABSOLUTE_FORM"),
        (b"GET /a/../a HTTP/1.1\r\nHost: a\r\n\r\n", "PATH_NOT_NORMAL"),
        (b"GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", "PATH_NOT_NORMAL"),
        (b"GET /a HTTP/1.1\r\nHost: [::1.2.3.4]\r\n\r\n", "DOTTED_LITERAL"),
        (POST + b"ffffffffffffffff\r\n", "LARGE_CHUNK"),
        (POST + b"0\r\nHost: a\r\n", "EARLY_TRAILER"),
    ],
)
def test_what_only_the_parser_reads_has_a_name(wire: bytes, name: str) -> None:
    assert {each.name for each in agree(script(wire), by_parser(DECIDE, [wire]))} == {name}


def test_other_verdicts_are_told() -> None:
    made = script(GET)
    made.items[0].refused = Reason.RULE_BLOCKED
    with pytest.raises(Disagreement):
        agree(made, by_parser(DECIDE, [GET]))
    with pytest.raises(AssertionError):
        check_tables(TABLES, made, DECIDE)


REDIRECTED = Seen(served(GET) + KEPT + served(OTHER), "EOF", GET + OTHER)


def test_refusals_keep_the_connection_where_messages_are_whole() -> None:
    assert told(Way.REDIRECT, [GET + DENIED, OTHER], REDIRECTED) == set()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("the client got more than is due", {"client": REDIRECTED.client + b"HTTP/1.1"}),
        ("the client got more than is due", {"client": REDIRECTED.client + KEPT}),
        ("our answer no-rule-matched wanted, 200", {"client": served(GET) + served(OTHER)}),
        ("our answer no-rule-matched wanted, 403", {"client": served(GET) + CLOSED}),
        ("our answer no-rule-matched wanted, no answer", {"client": served(GET)}),
        ("the server's answer wanted, 403", {"client": KEPT + served(GET) + served(OTHER)}),
        ("the client got no answer but this", {"client": served(GET)[:-3] + KEPT + b"abc"}),
        ("the server did not get what is allowed", {"server": GET}),
        ("the server did not get what is allowed", {"server": GET + DENIED + OTHER}),
        ("the server got what nobody asked for", {"server": GET + OTHER + DENIED}),
        ("the server cannot read what it got", {"faults": ("bad-target",)}),
        ("nothing more happens", {"end": HANG}),
        ("nothing more happens", {"server_end": HANG}),
        ("a reset at the client", {"end": RESET}),
        ("a reset at the server", {"server_end": "reading"}),
    ],
)
def test_disagreements(kind: str, change: dict[str, object]) -> None:
    disagrees(kind, Way.REDIRECT, [GET + DENIED, OTHER], replace(REDIRECTED, **change))


def test_by_tcp_a_refusal_may_end_the_connection() -> None:
    seen = Seen(served(GET) + CLOSED, "EOF", GET)
    assert told(Way.TCP, [GET + DENIED, OTHER], seen) == {"CLOSES"}
    assert told(Way.TCP, [GET, DENIED, OTHER], REDIRECTED) == set()
    blanked = replace(seen, server=GET + b"\r\n" * 16)
    assert told(Way.TCP, [GET + DENIED, OTHER], blanked) == {"CLOSES", "BLANKED"}
    disagrees(
        "the server got more empty lines than bytes are refused",
        Way.TCP,
        [GET + DENIED],
        replace(seen, server=GET + b"\n" * (len(DENIED) + 1)),
    )
    kind = "the server got what nobody asked for"
    disagrees(kind, Way.REDIRECT, [DENIED], Seen(KEPT, "EOF", b"\r\n"))


@pytest.mark.parametrize("size", [36, 50, 61, 100, 2000])
def test_by_tcp_an_answer_is_as_long_as_what_it_refuses(size: int) -> None:
    for text, names in ((KEPT, set()), (CLOSED, {"CLOSES"})):
        keep = text is KEPT
        answer = filled(Reason.NO_RULE_MATCHED, size, keep_alive=keep, head=False)
        assert answer is not None
        got = Seen(answer, "EOF")
        assert told(Way.TCP, [DENIED], got) == names
        for wrong in (answer[:-1], answer.replace(b"403", b"404"), answer + b" "):
            with pytest.raises(Disagreement):
                told(Way.TCP, [DENIED], replace(got, client=wrong))
        if answer != text:
            with pytest.raises(Disagreement):
                told(Way.REDIRECT, [DENIED], got)


def test_by_tcp_a_reset_ends_an_answer_that_says_no_end() -> None:
    bare = filled(Reason.NO_RULE_MATCHED, 20, keep_alive=False, head=False)
    assert bare is not None
    seen = Seen(bare, RESET, b"", "reading")
    assert told(Way.TCP, [DENIED], seen) == {"CLOSES", "RESET_LATER"}
    for client in (KEPT, CLOSED):
        disagrees("a reset at the client", Way.TCP, [DENIED], replace(seen, client=client))
    assert told(Way.TCP, [DENIED], replace(seen, client=CLOSED), slow=True) >= {"RESET_LATER"}


def test_by_tcp_too_short_a_piece_is_not_answered() -> None:
    pieces, seen = [DENIED[:-16], DENIED[-16:]], Seen(b"", "EOF", DENIED[:-16])
    assert told(Way.TCP, pieces, seen) == {"TOO_SHORT", "AHEAD"}
    with pytest.raises(Disagreement):
        told(Way.TCP, [DENIED[:-17], DENIED[-17:]], replace(seen, server=DENIED[:-17]))


def test_less_than_a_head_may_be_ahead_by_tcp() -> None:
    ahead = Seen(CLOSED, "EOF", DENIED[:-1])
    assert told(Way.TCP, [DENIED], ahead) == {"AHEAD", "CLOSES"}
    whole = replace(ahead, server=DENIED)
    kind = "the server got more of what is refused than may be ahead"
    disagrees(kind, Way.TCP, [DENIED], whole)
    disagrees(kind, Way.TCP, [DENIED], replace(ahead, server=GET[:10]))
    redirected = replace(ahead, client=KEPT)
    disagrees("the server got what nobody asked for", Way.REDIRECT, [DENIED], redirected)


def test_broken_content() -> None:
    pieces, seen = [POST + BROKEN], Seen(BAD_CHUNK, "EOF")
    assert told(Way.REDIRECT, pieces, seen) == set()
    assert told(Way.TCP, [POST, BROKEN], replace(seen, server=POST)) == {"AHEAD"}
    assert told(Way.TCP, [POST, BROKEN], Seen(b"", "reset", POST)) == {"AHEAD", "UNANSWERED_BREAK"}
    assert told(Way.TCP, [GET + POST + BROKEN], Seen(b"", "reset")) == {"LOST_BEFORE_BREAK"}
    disagrees(
        "our answer Reason.BAD_CHUNK wanted, no answer".replace("Reason.BAD_CHUNK", "bad-chunk"),
        Way.REDIRECT,
        pieces,
        Seen(b"", "EOF"),
    )
    expecting = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    hinted = Seen(CONTINUE + BAD_CHUNK, "EOF", expecting)
    assert told(Way.TCP, [expecting, BROKEN], hinted) == {"AHEAD"}


def test_what_is_cut_short_has_reached_the_server() -> None:
    pieces = [GET, POST + b"5\r\nhe"]
    seen = Seen(served(GET), "EOF", b"".join(pieces))
    assert told(Way.TCP, pieces, seen) == set()
    disagrees(
        "the server did not get what came of a request", Way.TCP, pieces, replace(seen, server=GET)
    )
    assert told(Way.TCP, [GET, b"GET /x HT"], replace(seen, server=GET + b"GET /x HT")) == set()


def test_content_of_a_refused_request_that_comes_later() -> None:
    pieces, seen = [DENIED_POST, b"hello" + GET], Seen(KEPT + served(GET), "EOF", GET)
    assert goes_by_redirect(script(*pieces), pieces)
    assert told(Way.REDIRECT, pieces, seen) == set()
    proxied = Seen(KEPT + served(GET), "EOF", messages=(Message(b"GET", b"/a", b""),))
    assert told(Way.PROXY, pieces, proxied) == set()
    assert told(Way.PROXY, pieces, Seen(CLOSED, "EOF")) == {"TIMING"}


def test_behind_an_answer_that_closes() -> None:
    pieces, seen = [LAST + DENIED + OTHER], Seen(served(LAST), "EOF", LAST)
    assert told(Way.REDIRECT, pieces, seen) == set()
    late = Seen(served(LAST) + KEPT, "EOF", LAST + OTHER)
    assert told(Way.REDIRECT, pieces, late) == {"AFTER_CLOSE"}
    for change in ({"client": late.client + served(OTHER)}, {"server": LAST + DENIED + OTHER}):
        with pytest.raises(Disagreement):
            told(Way.REDIRECT, pieces, replace(late, **change))
    proxied = Seen(served(LAST), RESET, messages=(Message(b"GET", b"/a", b""),))
    assert told(Way.PROXY, pieces, proxied) == {"RESET"}


def test_crowded_messages_and_hasty_clients() -> None:
    assert told(Way.REDIRECT, [GET + DENIED * 5], Seen(b"", "EOF")) == {"CROWDED"}
    assert told(Way.TCP, [DENIED], Seen(b"", "EOF"), hasty=True) == {"HASTY"}
    disagrees("our answer no-rule-matched wanted, no answer", Way.TCP, [DENIED], Seen(b"", "EOF"))
    with pytest.raises(Disagreement):
        told(Way.REDIRECT, [GET + DENIED * 4], Seen(b"", "EOF"))


def test_the_proxys_server_reads_what_is_allowed() -> None:
    seen = Seen(served(GET) + KEPT, "EOF", messages=(Message(b"GET", b"/a", b""),))
    assert told(Way.PROXY, [GET + DENIED], seen) == set()
    for got in ((), (*seen.messages, Message(b"GET", b"/x", b""))):
        disagrees(
            "the server behind the proxy got something else",
            Way.PROXY,
            [GET + DENIED],
            replace(seen, messages=got),
        )
    early = Seen(answer(Reason.BYTES_BEFORE_UPGRADE), "EOF")
    assert told(Way.PROXY, [UPGRADE + GET], early) == {"EARLY_BYTES"}


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([GET], True),
        ([GET + DENIED, OTHER], True),
        ([GET[:9], GET[9:]], False),
        ([GET + DENIED[:9]], False),
        ([POST, b"0\r\n\r\n"], False),
        ([POST + b"0\r\n\r\n" + GET], True),
        ([POST + BROKEN, GET[:5]], True),
        ([DENIED_POST + b"he", b"llo" + GET], True),
        ([DENIED_POST + b"he", b"llo" + GET[:5]], False),
        ([DENIED_POST[:9], DENIED_POST[9:]], False),
        ([ABSOLUTE + GET[:9]], True),
        ([UPGRADE], False),
    ],
)
def test_which_pieces_are_judged_at_the_client(pieces: list[bytes], whole: bool) -> None:
    assert goes_by_redirect(script(*pieces), pieces) is whole


def test_every_difference_says_what_it_is() -> None:
    assert len({each.meaning for each in Difference}) == len(Difference)
