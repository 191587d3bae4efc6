"""Documents: http rules, what they may hold and what is refused with which words."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from l7proxy.policy.model import (
    Backend,
    HeaderRule,
    Mismatch,
    RuleAction,
)
from tests.policy.support import http, only_rule, policy, refusal


def http_rules(*rules: str):
    return only_rule(policy(http(*rules))).ports[0].http


def test_the_older_spelling_HTTP_is_understood():  # noqa: N802 - the spelling is the subject
    text = policy(http("{method: GET}").replace("http:", "HTTP:"), kind="CiliumNetworkPolicy")
    (rule,) = only_rule(text).ports[0].http
    assert (rule.method, rule.label) == ("GET", "ingress[0].toPorts[0].HTTP[0]")


def test_both_spellings_at_once_are_refused():
    text = policy(http("{method: GET}") + "      HTTP: [{}]\n")
    assert refusal(text) == [
        "13: spec.ingress[0].toPorts[0].rules.HTTP: the list http is already given"
    ]


def test_an_http_rule_has_conditions():
    (rule,) = http_rules(
        '{method: GET, path: "/a.*", host: "a[.]b", headers: ["X-Key: v w", X-Other],'
        " headerMatches: [{name: X-Log, value: v, mismatch: LOG}, {name: X-There}]}"
    )
    assert (rule.method, rule.path, rule.host) == ("GET", "/a.*", "a[.]b")
    assert rule.headers == (
        HeaderRule(b"x-key", b"v w"),
        HeaderRule(b"x-other"),
        HeaderRule(b"x-log", b"v", Mismatch.LOG),
        HeaderRule(b"x-there"),
    )
    assert rule.action is RuleAction.ALLOW


def test_an_l7policy_rule_has_a_name_and_an_action():
    block, fixed, chosen = http_rules(
        "{path: /x, action: block, name: no-x}",
        '{action: forward, forward: {address: "[fd00::4]:8080"}}',
        "{action: forward, forward: {endpoints: {matchLabels: {app: auth}}, port: 8080}}",
    )
    assert (block.action, block.label) == (RuleAction.BLOCK, "no-x")
    assert fixed.backend == Backend(8080, ip_address("fd00::4"))
    assert fixed.label == "ingress[0].toPorts[0].http[1]"
    assert (chosen.backend.port, str(chosen.backend.selector)) == (
        8080,
        "app=auth, namespace=default",
    )


@pytest.mark.parametrize("field", ["action: block", "forward: {}", "name: x"])
def test_only_an_l7policy_has_actions(field):
    (error,) = refusal(policy(http(f"{{{field}}}"), kind="CiliumNetworkPolicy"))
    assert error.endswith("only kind L7Policy (l7proxy.io/v1alpha1) has this field")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('{method: "("}', "http[0].method: not a regular expression that RE2 accepts: missing )"),
        (r'{path: "(?=x)"}', "http[0].path: not a regular expression that RE2 accepts"),
        (r'{host: "(a)\\1"}', "http[0].host: not a regular expression that RE2 accepts"),
        ('{path: ""}', "is empty: leave the field out to match every value"),
        ("{method: NO}", "must be a string, not false: quote it"),
        ('{headers: ["X Key: v"]}', "'X Key' is not a header name"),
        ('{headers: ["X-Key:"]}', "write 'X-Key' to ask for presence"),
        (r'{headers: ["X-Key: a\r\nX: b"]}', "a header value cannot hold control characters"),
        (
            "{headerMatches: [{name: X, value: v, mismatch: DROP}]}",
            "unknown mismatch action 'DROP'",
        ),
        ("{headerMatches: [{name: X, mismatch: ADD}]}", "mismatch ADD needs a value to write"),
        (
            "{headerMatches: [{name: Content-Length, value: '1', mismatch: REPLACE}]}",
            "a rule cannot change the header 'content-length'",
        ),
        (
            "{headerMatches: [{name: X, secret: {name: s}}]}",
            "headerMatches[0].secret: this field of Cilium's schema is not supported",
        ),
        ("{action: forward}", "action: forward and the field forward belong together"),
        ('{forward: {address: "10.0.0.4:80"}}', "action: forward and the field forward belong"),
        ("{action: forward, forward: {address: auth}}", "'auth' is not ADDRESS:PORT"),
        ('{action: forward, forward: {address: "auth:80"}}', "'auth:80' is not ADDRESS:PORT"),
        ('{action: forward, forward: {address: "fd00::4:80"}}', "is not ADDRESS:PORT"),
        (
            '{action: forward, forward: {address: "0.0.0.0:80"}}',
            "is not the address of one backend",
        ),
        ("{action: forward, forward: {port: 80}}", "needs address, or endpoints and port"),
        (
            '{action: forward, forward: {address: "10.0.0.4:80", port: 80}}',
            "write either address, or endpoints and port",
        ),
        ("{action: drop}", "must be one of 'allow', 'block' or 'forward'"),
        (
            "{action: block, headerMatches: [{name: X, value: v, mismatch: LOG}]}",
            "mismatch has no meaning on a block rule",
        ),
        ("{methode: GET}", "http[0].methode: unknown field"),
    ],
)
def test_wrong_http_rules_are_refused(rule, message):
    (error,) = refusal(policy(http(rule)))
    assert error.startswith("12: spec.ingress[0].toPorts[0].rules.http[0]")
    assert message in error


def test_a_rule_knows_its_place():
    (rule,) = http_rules("{path: /a}")
    assert str(rule.source) == "test.yaml:12"
