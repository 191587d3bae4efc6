"""Explaining: the same answer as deciding, and the rule that came nearest."""

from __future__ import annotations

import pytest

from l7proxy.policy.explain import explain
from l7proxy.workloads.model import HOST
from tests.policy.support import (
    FRONTEND,
    INTRUDER,
    USERS,
    WORKLOADS,
    http,
    policies,
    policy,
    request,
    world,
)

RULES = policies(
    policy(
        http(
            "{method: GET, path: /users, name: read}",
            '{method: PUT, path: /users, headers: ["X-Role: admin"], name: write}',
            "{path: /login, action: forward, name: login,"
            " forward: {endpoints: {matchLabels: {app: auth}}, port: 8080}}",
            "{path: /gone, action: forward, name: gone,"
            " forward: {endpoints: {matchLabels: {app: gone}}, port: 8080}}",
            "{path: /root, action: block, name: root}",
            peers="fromEndpoints: [{matchLabels: {app: frontend}}]",
        )
    )
)


def ask(line: str, client=FRONTEND, port: int = 80, of=RULES, **headers: str):
    return explain(of, WORKLOADS, client, USERS, port, request(line, **headers))


@pytest.mark.parametrize(
    ("line", "verdict", "action", "rule", "reason", "code"),
    [
        ("GET /users", "FORWARDED", "allow", "read", "rule-allowed", 0),
        ("POST /login", "FORWARDED", "forward", "login", "rule-forwarded", 0),
        ("POST /gone", "DROPPED", "forward", "gone", "no-backend", 22),
        ("GET /root", "DROPPED", "block", "root", "rule-blocked", 22),
        ("GET /other", "DROPPED", "block", None, "no-rule-matched", 22),
    ],
)
def test_the_document_of_an_explanation(line, verdict, action, rule, reason, code):
    answer = ask(line)
    assert answer.as_json() == {
        "verdict": verdict,
        "action": action,
        "backend": "10.0.0.4:8080" if rule == "login" else None,
        "policy": "test" if rule else None,
        "rule": rule,
        "reason": reason,
        "road": "proxy",
        "audit": None,
    }
    assert answer.exit_code == code


def test_a_refused_connection():
    answer = ask("GET /users", INTRUDER)
    assert answer.exit_code == 28
    document = answer.as_json()
    assert (document["verdict"], document["reason"]) == ("DROPPED", "l4-default-deny")


def test_the_nearest_rule_is_the_one_with_the_fewest_misses():
    near = ask("PUT /users").nearest
    assert (near.policy, near.rule, str(near.source)) == ("test", "write", "test.yaml:13")
    assert [str(miss) for miss in near.misses] == ["header x-role is absent, the rule wants admin"]
    near = ask("DELETE /users").nearest
    assert (near.rule, [str(miss) for miss in near.misses]) == (
        "read",
        ["method is DELETE, the rule wants GET"],
    )


def test_the_first_of_equally_near_rules_is_named():
    assert ask("GET /x").nearest.rule == "read"


def test_served_requests_and_blocks_have_no_nearest_rule():
    assert ask("GET /users").nearest is None
    assert ask("GET /root").nearest is None


@pytest.mark.parametrize(
    ("client", "port", "why"),
    [
        (FRONTEND, 81, "port is 81/TCP, the rule wants 80/TCP"),
        (
            INTRUDER,
            80,
            "client is default/intruder (app=intruder), the rule wants app=frontend, "
            "namespace=default",
        ),
        (HOST, 80, "client is host, the rule wants app=frontend, namespace=default"),
        (
            world("203.0.113.9"),
            80,
            "client is 203.0.113.9, the rule wants app=frontend, namespace=default",
        ),
    ],
)
def test_the_nearest_rule_for_a_connection(client, port, why):
    near = ask("GET /users", client, port).nearest
    assert (near.rule, [str(miss) for miss in near.misses]) == ("ingress[0]", [why])


def test_an_empty_rule_says_that_it_is_for_nobody():
    near = ask("GET /", of=policies(policy("ingress: [{}]"))).nearest
    assert str(near.misses[0]) == "client is default/frontend, the rule wants nobody"


def test_a_deny_rule_is_named_itself():
    denied = policies(policy("ingressDeny: [{fromEndpoints: [{}]}]"))
    answer = ask("GET /", of=denied)
    assert (answer.verdict.rule, answer.nearest) == ("ingressDeny[0]", None)


def test_control_bytes_of_a_request_do_not_reach_the_terminal():
    answer = ask("GET /\x1b[31m")
    assert "\x1b" not in str(answer.nearest)
