"""Checking: where connections go, and rules that can never decide."""

from __future__ import annotations

import pytest

from l7proxy.policy.check import check
from tests.policy.support import USERS, WORKLOADS, http, policies, policy, workload


def rows(*documents: str, workloads=WORKLOADS):
    found = check(policies(*documents), workloads).destinations
    return [(row.workload, row.port, row.road, row.rules) for row in found]


def warnings(*documents: str, workloads=None) -> list[str]:
    return [str(each) for each in check(policies(*documents), workloads).warnings]


# Destinations.


def test_ports_with_http_rules_take_the_proxy_and_others_are_spliced():
    text = policy(http("{method: GET}", "{method: PUT}") + "- fromEntities: [host]\n")
    assert rows(text) == [
        ("default/users", "80", "proxy", 3),
        ("default/users", "other ports", "splice", 1),
    ]


def test_without_workloads_the_rows_are_for_selectors():
    assert rows(policy(http("{}")), workloads=None) == [
        ("app=users, namespace=default", "80", "proxy", 1)
    ]


def test_ranges_are_cut_where_rules_begin_and_end():
    text = policy(
        "ingress:\n- toPorts: [{ports: [{port: 80, endPort: 90}]}]\n"
        "- toPorts: [{ports: [{port: 85}]}]\n"
    )
    assert rows(text) == [
        ("default/users", "80-84", "splice", 1),
        ("default/users", "85", "splice", 2),
        ("default/users", "86-90", "splice", 1),
    ]


def test_allow_lists_that_are_moot_need_no_proxy():
    text = policy(http("{method: GET}") + "- fromEndpoints: [{}]\n")
    assert rows(text)[0] == ("default/users", "80", "splice", 2)


def test_a_port_denied_to_everyone_is_refused():
    text = policy("ingressDeny: [{toPorts: [{ports: [{port: 22}]}]}]")
    assert rows(text) == [("default/users", "22", "refused", 0)]


def test_egress_rows_say_where_to():
    text = policy(
        "egress:\n- toEntities: [world]\n  toPorts:\n  - ports: [{port: 80}]\n"
        "    rules: {http: [{}]}\n"
    )
    (row,) = check(policies(text), WORKLOADS).destinations
    assert (row.workload, row.direction, row.road) == ("default/users to world", "egress", "proxy")
    assert row.reason == "the server is not a workload of this node"


def test_a_row_as_json_has_a_number_for_a_single_port():
    (row,) = check(policies(policy(http("{}"))), WORKLOADS).destinations
    assert row.as_json()["port"] == 80


# Warnings.


def test_a_sound_policy_has_none():
    text = policy(http("{method: GET, path: /a}", r'{path: "/b(\\?.*)?", action: block}'))
    assert warnings(text, workloads=[USERS]) == []


@pytest.mark.parametrize(
    ("rules", "line", "expected"),
    [
        (
            ["{path: /a, name: a}", "{path: /a, name: b}"],
            13,
            "rule b of policy test never decides: rule a of policy test comes first",
        ),
        (
            ["{name: a}", "{path: /a, name: b}"],
            13,
            "rule b of policy test never decides: rule a of policy test comes first",
        ),
        (
            ['{path: "/a.*", name: a}', "{path: /ab, name: b}"],
            13,
            "rule b of policy test never decides",
        ),
        (
            ["{path: /a, name: a}", '{path: "/a.*", action: block, name: b}'],
            12,
            "rule a of policy test never decides: rule b of policy test blocks all it matches",
        ),
        (
            ["{action: block, name: a}", "{method: GET, action: block, name: b}"],
            13,
            "blocks all it matches",
        ),
        (["{method: get}"], 12, "does not match GET: methods are case-sensitive"),
        (['{method: "G ET"}'], 12, "never matches: 'G ET' is not a method"),
        (["{path: users}"], 12, "never matches: a path starts with /"),
        (["{path: /a//b}"], 12, "never matches: paths are normalised first"),
        (["{path: /%61}"], 12, "never matches: paths are normalised first"),
        (
            ["{path: /a, action: block}"],
            12,
            "does not block /a?x=1: the path is matched with its query",
        ),
        (["{host: Users}"], 12, "never matches: hosts are compared in lower case"),
    ],
)
def test_http_rules_that_never_decide(rules, line, expected):
    (warning,) = warnings(policy(http(*rules)))
    assert warning.startswith(f"test.yaml:{line}: ")
    assert expected in warning


def test_rules_for_other_peers_or_ports_do_not_shadow():
    text = policy(
        http("{}", peers="fromEntities: [host]")
        + http("{path: /a}", port=80).removeprefix("ingress:\n")
        + http("{}", port=81).removeprefix("ingress:\n")
    )
    assert warnings(text) == []


def test_an_http_rule_made_moot_by_an_l4_allow():
    l4 = policy("ingress: [{toPorts: [{ports: [{port: 80, endPort: 90}]}]}]", name="l4")
    (warning,) = warnings(policy(http("{method: GET}")), l4)
    assert "never decides: a rule without http allows the same peers and ports" in warning
    assert warnings(policy(http("{action: block, method: GET}")), l4) == []
    elsewhere = l4.replace(
        "endpointSelector: {", "endpointSelector: {matchExpressions: [{key: x, operator: Exists}], "
    )
    assert warnings(policy(http("{method: GET}")), elsewhere) == []


def test_an_http_rule_behind_a_deny_rule():
    text = policy(http("{}") + "ingressDeny: [{toPorts: [{ports: [{port: 80}]}]}]")
    assert "a deny rule comes before it" in warnings(text)[0]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("ingress: [{fromEndpoints: []}]", "never matches: its list of peers is empty"),
        ("ingress: [{fromEntities: [all], toPorts: []}]", "never matches: toPorts is empty"),
        (
            "ingress: [{toPorts: [{ports: [{port: 53, protocol: UDP}]}]}]",
            "says nothing about UDP here: only TCP is enforced",
        ),
        (
            "ingress: [{toPorts: [{ports: [{port: 80, protocol: UDP}], rules: {http: [{}]}}]}]",
            "never decide: HTTP runs over TCP, not UDP",
        ),
    ],
)
def test_rules_that_never_match(rules, expected):
    found = warnings(policy(rules))
    assert any(expected in each for each in found)
    assert all(each.startswith("test.yaml:6: ") for each in found)


def test_selectors_that_name_no_known_workload():
    text = policy(
        http(
            "{action: forward, name: f, forward: {endpoints: {matchLabels: {app: gone}}, port: 1}}"
        ),
        selector="{matchLabels: {app: nobody}}",
    )
    assert warnings(text) == []
    assert warnings(text, workloads=[workload("x")]) == [
        "test.yaml:4: policy test selects no known workload (app=nobody, namespace=default)",
        "test.yaml:12: rule f of policy test forwards to no known workload "
        "(app=gone, namespace=default)",
    ]
