"""Deciding by tables gives the verdicts of ``policy.decide``, word for word."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l7proxy.compiler.admission import compile_admission
from l7proxy.compiler.errors import Unsupported
from l7proxy.compiler.execute import decide_tables, satisfied
from l7proxy.compiler.tables import Field
from l7proxy.policy.decide import decide
from l7proxy.policy.model import Backend, Direction, HeaderRule, HttpRule, Mismatch, RuleAction
from l7proxy.policy.verdict import Action, Admission, HttpLayer
from l7proxy.reasons import Reason
from tests.policy.support import Request, request

METHODS = (None, "GET", "POST|PUT", "G.*", "(?i)get", "[A-Z]+")
PATHS = (
    *(None, "/", "/.*", "/users", "/users/[^/]+", "/users(/.*)?", "^/users/root$", "/v[0-9]+/.*?"),
    *("(?i)/LOGIN", r".*\.png", "/[^?]*", r"/users/\d{1,3}", "/(users|orders)/.*", "/a b", "/é"),
)
HOSTS = (None, "users", r"users(:\d+)?", r".*\.example\.com", "[^:]+")
CONDITIONS = (
    *(
        (),
        (HeaderRule(b"x-key"),),
        (HeaderRule(b"x-key", b"v"),),
        (HeaderRule(b"x-tier", b"gold"),),
    ),
    (HeaderRule(b"x-key"), HeaderRule(b"x-tier", b"gold")),
    (HeaderRule(b"x-key", b"v"), HeaderRule(b"x-key", b"w")),
)


@st.composite
def layers(draw: st.DrawFn, direction: Direction) -> HttpLayer:
    count = draw(st.integers(0, 6))
    rules = tuple(
        HttpRule(
            f"{direction}-policy",
            str(number),
            draw(st.sampled_from((RuleAction.ALLOW, RuleAction.ALLOW, RuleAction.BLOCK))),
            draw(st.sampled_from(METHODS)),
            draw(st.sampled_from(PATHS)),
            draw(st.sampled_from(HOSTS)),
            draw(st.sampled_from(CONDITIONS)),
        )
        for number in range(count)
    )
    return HttpLayer(direction, rules, draw(st.booleans()), draw(st.booleans()))


admissions = st.builds(
    lambda found: Admission(True, Reason.HTTP_RULES, layers=found),
    st.one_of(
        st.tuples(layers(Direction.INGRESS)),
        st.tuples(layers(Direction.EGRESS)),
        st.tuples(layers(Direction.EGRESS), layers(Direction.INGRESS)),
    ),
)
requests = st.builds(
    Request,
    st.sampled_from([b"GET", b"get", b"POST", b"G", b"DELETE", b"!"]),
    st.sampled_from(
        b"/ /users /users/ /users/root /users/42 /users/1234 /login /LOGIN /v1/x /v/x /a.png"
        b" /orders/1?x=1 * /a%20b /%C3%A9".split()
    ),
    st.sampled_from([b"users", b"users:80", b"api.example.com", b"[::1]:80", b""]),
    st.fixed_dictionaries(
        {},
        optional={
            b"x-key": st.sampled_from([b"v", b"w", b"", b"v,v", b"\xff"]),
            b"x-tier": st.sampled_from([b"gold", b"Gold"]),
        },
    ),
)


@settings(max_examples=200)
@given(admissions, st.lists(requests, min_size=1, max_size=8))
def test_tables_decide_as_the_reference_does(admission: Admission, asked: list[Request]) -> None:
    tables = compile_admission(admission)
    for each in asked:
        assert decide_tables(tables, each) == decide(admission, each, ())


def of(*rules: HttpRule, **layer: bool) -> Admission:
    return Admission(
        True, Reason.HTTP_RULES, layers=(HttpLayer(Direction.INGRESS, rules, **layer),)
    )


def test_the_first_rule_in_order_is_named() -> None:
    tables = compile_admission(
        of(
            HttpRule("p", "first", path="/a.*"),
            HttpRule("p", "second", path="/.*"),
            HttpRule("p", "no", RuleAction.BLOCK, path="/ab"),
        )
    )
    assert satisfied(tables, request("GET /ab")) == 0b111
    assert decide_tables(tables, request("GET /a")).rule == "first"
    assert decide_tables(tables, request("GET /b")).rule == "second"
    assert decide_tables(tables, request("GET /ab")).rule == "no"


def test_every_layer_has_its_say() -> None:
    egress = (HttpRule("e", "any", path="/.*"), HttpRule("e", "no", RuleAction.BLOCK, path="/e"))
    ingress = (
        HttpRule("i", "some", path="/[a-z]"),
        HttpRule("i", "no", RuleAction.BLOCK, path="/i"),
    )
    both = Admission(
        True,
        Reason.HTTP_RULES,
        layers=(
            HttpLayer(Direction.EGRESS, egress),
            HttpLayer(Direction.INGRESS, ingress, moot=True),
        ),
    )
    tables = compile_admission(both)
    for path, policy, rule in (
        ("/e", "e", "no"),
        ("/i", "i", "no"),
        ("/a", "i", "some"),
        ("/1", "e", "any"),
        ("*", None, None),
    ):
        verdict = decide_tables(tables, request(f"GET {path}"))
        assert (verdict.policy, verdict.rule) == (policy, rule)
        assert verdict == decide(both, request(f"GET {path}"), ())


@pytest.mark.parametrize(
    "admission",
    [
        Admission(False, Reason.L4_DENY_RULE, "p", "1"),
        Admission(True, Reason.L4_ALLOWED, "p", "2"),
        Admission(True, Reason.NO_POLICY),
    ],
)
def test_what_needs_no_rules_has_no_tables(admission: Admission) -> None:
    tables = compile_admission(admission)
    assert tables.fields == ()
    assert decide_tables(tables, request("GET /")) == decide(admission, request("GET /"), ())


@pytest.mark.parametrize(
    "asked",
    [
        Request(path=b"/\xff"),
        Request(path=b"/\xc3\xa9"),
        Request(path=b"/a b"),
        Request(path=b""),
        Request(method=b""),
        Request(method=b"GET "),
        Request(host=b"a/b"),
    ],
)
def test_a_request_that_cannot_be_is_never_let_through(asked: Request) -> None:
    verdict = decide_tables(compile_admission(of(HttpRule("p", "all"), moot=True)), asked)
    assert (verdict.action, verdict.reason) == (Action.BLOCK, Reason.BAD_TARGET)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            HttpRule("p", "f", RuleAction.FORWARD, backend=Backend(80)),
            "rule f of policy p forwards",
        ),
        (HttpRule("p", "h", headers=(HeaderRule(b"x", b"v", Mismatch.LOG),)), "headers"),
        (HttpRule("p", "c", path=r"/\C"), "single bytes"),
    ],
)
def test_what_takes_the_proxy_road_says_why(rule: HttpRule, said: str) -> None:
    with pytest.raises(Unsupported, match=said):
        compile_admission(of(HttpRule("p", "0", path="/"), rule))


def test_only_fields_that_rules_look_at_have_tables() -> None:
    tables = compile_admission(of(HttpRule("p", "0", headers=(HeaderRule(b"x-key"),))))
    assert [(each.field, each.name) for each in tables.fields] == [(Field.HEADER, b"x-key")]
    assert compile_admission(of(HttpRule("p", "0"))).fields == ()


def test_the_digest_is_of_what_decides() -> None:
    one = compile_admission(of(HttpRule("p", "0", path="/a|/b")))
    same = compile_admission(of(HttpRule("p", "0", path="/(a|b)")))
    for policy, label in (("q", "0"), ("p", "1")):
        # Its requests are told of by another name.
        named = compile_admission(of(HttpRule(policy, label, path="/a|/b")))
        assert named.digest != one.digest
    other = compile_admission(of(HttpRule("p", "0", RuleAction.BLOCK, path="/a|/b")))
    assert one.digest == same.digest != other.digest
    assert compile_admission(of(HttpRule("p", "0", path="/a|/b"), moot=True)).digest != one.digest
