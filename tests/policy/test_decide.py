"""Meaning, the HTTP half: which rule decides a request, and what it does."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from l7proxy.policy.decide import Decider, decide
from l7proxy.policy.verdict import Action, HeaderEdit
from l7proxy.reasons import Reason
from tests.policy.support import (
    AUTH,
    FRONTEND,
    INTRUDER,
    USERS,
    WORKLOADS,
    Request,
    admission,
    http,
    policies,
    policy,
    request,
    verdict,
    workload,
)

FORWARD = 'action: forward, forward: {address: "10.0.0.8:80"}'


def served(of, what, **who) -> bool:
    return verdict(of, what, **who).action is not Action.BLOCK


# 4. Moot allow lists.

L4 = policy("ingress: [{fromEndpoints: [{}]}]", name="l4")


def test_an_l4_allow_makes_allow_lists_moot():
    rules = policy(http("{method: GET}", "{path: /secret, action: block}"))
    assert not served(policies(rules), "PUT /")
    answer = verdict(policies(rules, L4), "PUT /")
    assert (answer.action, answer.reason) == (Action.ALLOW, Reason.L4_ALLOWED)


def test_an_l4_allow_does_not_undo_a_block():
    rules = policy(http("{method: GET}", "{path: /secret, action: block}"))
    assert verdict(policies(rules, L4), "GET /secret").reason is Reason.RULE_BLOCKED


def test_an_l4_allow_leaves_forwards_and_header_changes_in_force():
    rules = policy(
        http(
            f"{{path: /f, {FORWARD}}}",
            "{path: /h, headerMatches: [{name: X, value: v, mismatch: ADD}]}",
        )
    )
    assert verdict(policies(rules, L4), "GET /f").action is Action.FORWARD
    assert verdict(policies(rules, L4), "GET /h").edits == (HeaderEdit(b"x", b"v", append=True),)


# 1. Default deny off.


def test_with_default_deny_off_blocks_block_and_the_rest_is_allowed():
    off = "enableDefaultDeny: {ingress: false}\n"
    loaded = policies(policy(off + http("{path: /a}", "{path: /b, action: block}")))
    assert verdict(loaded, "GET /a").reason is Reason.RULE_ALLOWED
    assert verdict(loaded, "GET /b").reason is Reason.RULE_BLOCKED
    answer = verdict(loaded, "GET /c")
    assert (answer.action, answer.reason) == (Action.ALLOW, Reason.DEFAULT_ALLOWED)


# 5. Fields and rules.


def test_all_fields_of_a_rule_must_match():
    loaded = policies(policy(http('{method: GET, path: /a, host: users, headers: ["X: 1"]}')))
    assert served(loaded, request("GET /a", x="1"))
    for other in (
        request("PUT /a", x="1"),
        request("GET /b", x="1"),
        request("GET /a", host="other", x="1"),
        request("GET /a", x="2"),
        request("GET /a"),
    ):
        answer = verdict(loaded, other)
        assert (answer.reason, answer.policy) == (Reason.NO_RULE_MATCHED, None)


def test_rules_are_alternatives():
    loaded = policies(policy(http("{method: GET}", "{path: /b}")))
    assert served(loaded, "GET /a")
    assert served(loaded, "PUT /b")
    assert not served(loaded, "PUT /a")


def test_an_empty_rule_matches_every_request():
    answer = verdict(policies(policy(http("{}"))), "ANY /thing?x")
    assert (answer.reason, answer.policy, answer.rule) == (
        Reason.RULE_ALLOWED,
        "test",
        "ingress[0].toPorts[0].http[0]",
    )


# 6. Precedence.


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_block_beats_forward_and_allow_wherever_it_stands(order):
    rules = ["{path: /x, action: block, name: never}", "{}", f"{{{FORWARD}}}"]
    answer = verdict(policies(policy(http(*(rules[at] for at in order)))), "GET /x")
    assert (answer.action, answer.reason, answer.rule) == (
        Action.BLOCK,
        Reason.RULE_BLOCKED,
        "never",
    )


def test_a_block_of_any_policy_beats_the_others():
    loaded = policies(
        policy(http("{}"), name="a"), policy(http("{path: /x, action: block}"), name="z")
    )
    assert verdict(loaded, "GET /x").policy == "z"


def test_the_first_rule_in_order_decides_where_the_request_goes():
    allow, forward = "{path: /.*, name: here}", f"{{path: /x, {FORWARD}, name: there}}"
    assert verdict(policies(policy(http(allow, forward))), "GET /x").rule == "here"
    assert verdict(policies(policy(http(forward, allow))), "GET /x").rule == "there"
    by_name = policies(policy(http(allow), name="z"), policy(http(forward), name="a"))
    assert verdict(by_name, "GET /x").rule == "there"


def test_no_match_is_blocked():
    answer = verdict(policies(policy(http("{path: /a}"))), "GET /b")
    assert (answer.action, answer.reason) == (Action.BLOCK, Reason.NO_RULE_MATCHED)


# 7. Patterns.


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("/a", ["/a"], ["/ab", "/", "x/a", "/a?x=1", "/A"]),
        ("/a.*", ["/a", "/ab", "/a?x=1"], ["/", "/A"]),
        ("^/a$", ["/a"], ["/ab", "^/a$"]),
        ("/a$", ["/a"], ["/a$", "/ab"]),
        ("/a/??[^/]*$", ["/a", "/a/", "/a/b"], ["/a/b/c"]),
        ("/(a|b)", ["/a", "/b"], ["/ab", "/c"]),
        ("/a|/b", ["/a", "/b"], ["/a|/b", "/c"]),
        ("(?i)/a", ["/a", "/A"], ["/b"]),
        (r"/a\\?x=[0-9]+", ["/a?x=1"], ["/a", "/a?x="]),
        ("/ü.*", ["/üx"], ["/u"]),
    ],
)
def test_patterns_match_the_whole_value(pattern, matching, other):
    loaded = policies(policy(http(f'{{path: "{pattern}"}}')))
    for path in matching:
        assert served(loaded, f"GET {path}"), path
    for path in other:
        assert not served(loaded, f"GET {path}"), path


def test_the_method_is_matched_as_sent():
    loaded = policies(policy(http("{method: GET|HEAD}")))
    assert served(loaded, "HEAD /")
    assert not served(loaded, "get /")
    assert not served(loaded, "GETX /")


def test_the_path_is_matched_with_its_query():
    loaded = policies(policy(http(r'{path: "/a(\\?.*)?"}')))
    assert served(loaded, "GET /a?b=c")
    assert not served(policies(policy(http("{path: /a}"))), "GET /a?b=c")


def test_the_host_is_matched_with_its_port():
    loaded = policies(policy(http('{host: "users[.]example:8080"}')))
    assert served(loaded, request("GET /", host="users.example:8080"))
    assert not served(loaded, request("GET /", host="users.example"))


def test_headers_ask_for_a_value_or_for_presence():
    loaded = policies(policy(http('{headers: ["X-Key: a b", X-Other]}')))
    assert served(loaded, request("GET /", x_key="a b", x_other=""))
    assert not served(loaded, request("GET /", x_key="a  b", x_other=""))
    assert not served(loaded, request("GET /", x_key="a b"))


def test_header_names_are_case_insensitive():
    assert served(policies(policy(http('{headers: ["X-KEY: v"]}'))), request("GET /", x_key="v"))


def test_repeated_headers_are_matched_joined():
    # The request joins repeats with a comma (RFC 9110 section 5.3); one of them is not the value.
    loaded = policies(policy(http('{headers: ["X-Key: a"]}')))
    assert not served(loaded, Request(headers={b"x-key": b"a,a"}))
    loaded = policies(policy(http('{headers: ["X-Key: a,b"]}')))
    assert served(loaded, Request(headers={b"x-key": b"a,b"}))


def test_header_matches_are_exact_and_without_a_value_ask_for_presence():
    loaded = policies(policy(http("{headerMatches: [{name: A, value: v}, {name: B}]}")))
    assert served(loaded, request("GET /", a="v", b="x"))
    assert not served(loaded, request("GET /", a="w", b="x"))
    assert not served(loaded, request("GET /", a="v"))


@pytest.mark.parametrize(
    ("mismatch", "sent", "edits", "logged"),
    [
        ("LOG", None, (), ("x: is missing",)),
        ("LOG", "w", (), ("x: differs",)),
        ("ADD", None, (HeaderEdit(b"x", b"v", append=True),), ("x: is missing, value added",)),
        ("ADD", "w", (HeaderEdit(b"x", b"v", append=True),), ("x: differs, value added",)),
        ("REPLACE", "w", (HeaderEdit(b"x", b"v"),), ("x: differs, value set",)),
        ("REPLACE", None, (HeaderEdit(b"x", b"v"),), ("x: is missing, value set",)),
        ("DELETE", "w", (HeaderEdit(b"x", None),), ("x: differs, deleted",)),
        ("DELETE", None, (), ("x: is missing",)),
        ("ADD", "v", (), ()),
        ("REPLACE", "v", (), ()),
        ("DELETE", "v", (), ()),
    ],
)
def test_a_mismatch_action_lets_the_rule_match_anyway(mismatch, sent, edits, logged):
    rule = f"{{headerMatches: [{{name: X, value: v, mismatch: {mismatch}}}]}}"
    headers = {} if sent is None else {"x": sent}
    answer = verdict(policies(policy(http(rule))), request("GET /", **headers))
    assert answer.action is Action.ALLOW
    assert (answer.edits, answer.logged) == (edits, logged)


def test_every_matching_rule_makes_its_changes_and_the_first_decides():
    change = "headerMatches: [{name: %s, value: v, mismatch: ADD}]"
    loaded = policies(
        policy(
            http(
                "{path: /a, name: first}",
                f"{{path: /.*, {change % 'X'}}}",
                f"{{path: /.*, {change % 'X'}}}",
                f"{{path: /b, {change % 'Y'}}}",
            )
        )
    )
    answer = verdict(loaded, "GET /a")
    assert answer.rule == "first"
    assert answer.edits == (HeaderEdit(b"x", b"v", append=True),)


def test_a_blocked_request_is_not_changed():
    loaded = policies(
        policy(
            http(
                "{headerMatches: [{name: X, value: v, mismatch: ADD}]}",
                "{path: /x, action: block}",
            )
        )
    )
    assert verdict(loaded, "GET /x").edits == ()


def test_what_is_not_text_is_refused_rather_than_slipping_past_a_block():
    loaded = policies(policy(http('{path: "/open.*"}', '{path: ".*secret.*", action: block}')))
    answer = verdict(loaded, Request(path=b"/open\xff/secret"))
    assert (answer.action, answer.reason) == (Action.BLOCK, Reason.BAD_TARGET)


def test_long_values_are_decided_like_short_ones():
    loaded = policies(policy(http('{path: "/a[b]*"}')))
    assert served(loaded, Request(path=b"/a" + b"b" * 5000))
    assert not served(loaded, Request(path=b"/a" + b"b" * 5000 + b"c"))


# Forwarding.


def test_a_fixed_address_is_the_backend():
    answer = verdict(policies(policy(http(f"{{{FORWARD}}}"))), "GET /")
    assert (answer.action, answer.reason) == (Action.FORWARD, Reason.RULE_FORWARDED)
    assert answer.backend == (ip_address("10.0.0.8"), 80)


def test_workloads_of_a_selector_take_turns_in_stable_order():
    rule = "{action: forward, forward: {endpoints: {matchLabels: {app: auth}}, port: 8080}}"
    connection = admission(policies(policy(http(rule))))
    second = workload("auth-2", "default", "10.0.0.5", app="auth")
    unready = workload("auth-0", app="auth")
    elsewhere = workload("auth", "elsewhere", "10.0.0.6", app="auth")
    decider = Decider(connection, [elsewhere, second, unready, AUTH])
    asked = request("POST /login")
    backends = [decider.decide(asked, turn).backend for turn in range(3)]
    assert [str(address) for address, _ in backends] == ["10.0.0.4", "10.0.0.5", "10.0.0.4"]


def test_without_a_backend_the_reason_says_so():
    rule = "{action: forward, forward: {endpoints: {matchLabels: {app: gone}}, port: 8080}}"
    answer = verdict(policies(policy(http(rule))), "GET /")
    assert (answer.action, answer.reason, answer.backend) == (
        Action.FORWARD,
        Reason.NO_BACKEND,
        None,
    )


# 10. Both directions.


def both(out: str, inwards: str):
    egress = http(out, peers="toEndpoints: [{}]").replace("ingress", "egress")
    return policies(
        policy(egress, name="out", selector="{matchLabels: {app: frontend}}"),
        policy(http(inwards), name="in"),
    )


def test_both_directions_must_allow_the_request():
    loaded = both("{method: GET}", "{path: /a}")
    assert served(loaded, "GET /a")
    assert verdict(loaded, "GET /b").action is Action.BLOCK
    assert verdict(loaded, "PUT /a").action is Action.BLOCK


def test_the_servers_rule_is_named_and_a_block_wherever_it_is():
    loaded = both("{}", "{path: /a, name: mine}")
    assert (verdict(loaded, "GET /a").policy, verdict(loaded, "GET /a").rule) == ("in", "mine")
    loaded = both("{action: block}", "{}")
    assert verdict(loaded, "GET /a").policy == "out"


def test_a_forward_of_either_direction_forwards_and_the_clients_comes_first():
    there = '{action: forward, forward: {address: "10.0.0.7:80"}}'
    assert verdict(both("{}", there), "GET /").policy == "in"
    assert verdict(both(there, "{}"), "GET /").policy == "out"
    answer = verdict(both(f"{{{FORWARD}}}", there), "GET /")
    assert (answer.policy, str(answer.backend[0])) == ("out", "10.0.0.8")


def test_header_changes_of_both_directions_are_made():
    change = "{headerMatches: [{name: %s, value: v, mismatch: ADD}]}"
    answer = verdict(both(change % "X", change % "Y"), "GET /")
    assert [edit.name for edit in answer.edits] == [b"x", b"y"]


# The two ways to ask.


def test_decide_and_a_prepared_decider_agree():
    loaded = policies(policy(http("{path: /a}", "{path: /b, action: block}")))
    for client in (FRONTEND, INTRUDER, AUTH):
        connection = admission(loaded, client)
        for line in ("GET /a", "GET /b", "GET /c"):
            asked = request(line)
            expected = Decider(connection, WORKLOADS).decide(asked)
            assert decide(connection, asked, WORKLOADS) == expected


def test_a_refused_connection_refuses_its_requests():
    answer = verdict(policies(policy("ingress: [{}]")), "GET /")
    assert (answer.action, answer.reason) == (Action.BLOCK, Reason.L4_DEFAULT_DENY)


def test_a_connection_without_layers_serves_its_requests():
    answer = verdict(policies(L4), "GET /", server=USERS)
    assert (answer.action, answer.policy, answer.rule) == (Action.ALLOW, "l4", "ingress[0]")


def test_what_is_remembered_of_a_request_decides_the_next_one_anew():
    """More requests than are remembered, each with and without the header that a rule wants."""
    rules = http(
        '{path: "/a.*", headers: ["X-Key: a"]}',
        '{path: "/.*", method: POST}',
        '{path: "/a/secret.*", headers: [X-Deny], action: block}',
    )
    decider = Decider(admission(policies(policy(rules))), WORKLOADS)

    def allowed(what: str, **headers: str) -> bool:
        return decider.decide(request(what, **headers)).action is not Action.BLOCK

    for _ in range(2):
        for number in range(2000):
            assert allowed(f"GET /a/{number}", x_key="a")
            assert not allowed(f"GET /a/{number}", x_key="b")
            assert allowed(f"POST /a/{number}")
        assert allowed("GET /a/secret", x_key="a")
        assert not allowed("GET /a/secret", x_key="a", x_deny="")
