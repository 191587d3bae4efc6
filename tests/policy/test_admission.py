"""Meaning, the L3/L4 half: who is selected, who may connect, and which HTTP rules then hold."""

from __future__ import annotations

from itertools import pairwise

import pytest

from l7proxy.policy.decide import admit, cidrs, port_boundaries, selects
from l7proxy.policy.model import Direction, PolicySet
from l7proxy.reasons import Reason
from l7proxy.workloads.model import HOST
from tests.policy.support import (
    AUTH,
    FRONTEND,
    INTRUDER,
    USERS,
    WORKLOADS,
    admission,
    http,
    policies,
    policy,
    workload,
    world,
)

EVERYONE = {"workload": FRONTEND, "host": HOST, "world": world("203.0.113.9")}


def allowed(of: PolicySet, client=FRONTEND, server=USERS, port: int = 80) -> bool:
    return admission(of, client, server, port).allowed


def who(of: PolicySet, port: int = 80) -> set[str]:
    """Which of a workload, the host and the world may connect to users."""
    return {name for name, peer in EVERYONE.items() if allowed(of, peer, port=port)}


# 1. Selection and default deny.


def test_without_a_policy_everything_is_allowed():
    answer = admission(policies(policy("ingress: [{}]", selector="{matchLabels: {app: x}}")))
    assert (answer.allowed, answer.reason) == (True, Reason.NO_POLICY)


def test_a_selected_direction_is_default_deny():
    answer = admission(policies(policy("ingress: [{fromEntities: [host]}]")))
    assert (answer.allowed, answer.reason) == (False, Reason.L4_DEFAULT_DENY)
    assert (answer.policy, answer.rule) == ("test", None)


def test_a_direction_without_rules_is_not_selected():
    loaded = policies(policy("ingress: [{}]\negress: []"))
    assert selects(loaded, USERS, Direction.INGRESS)
    assert not selects(loaded, USERS, Direction.EGRESS)
    assert not selects(loaded, AUTH, Direction.INGRESS)
    assert allowed(loaded, client=USERS, server=AUTH)


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_deny_list_alone_selects_too(direction):
    peers = "fromEntities" if direction == "ingress" else "toEntities"
    loaded = policies(policy(f"{direction}Deny: [{{{peers}: [world]}}]"))
    client, server = (FRONTEND, USERS) if direction == "ingress" else (USERS, FRONTEND)
    assert admission(loaded, client, server).reason is Reason.L4_DEFAULT_DENY


def test_default_deny_is_off_only_if_every_selecting_policy_says_so():
    off = policy(
        "ingress: [{fromEntities: [host]}]\nenableDefaultDeny: {ingress: false}", name="lax"
    )
    also_off = policy(
        "ingress: [{fromEntities: [world]}]\nenableDefaultDeny: {ingress: false}", name="also"
    )
    on = policy("ingress: [{fromEntities: [host]}]", name="deny")
    answer = admission(policies(off, also_off))
    assert (answer.allowed, answer.reason) == (True, Reason.DEFAULT_ALLOWED)
    answer = admission(policies(off, also_off, on))
    assert (answer.allowed, answer.policy) == (False, "deny")


def test_default_deny_is_switched_per_direction():
    loaded = policies(policy("ingress: [{}]\negress: [{}]\nenableDefaultDeny: {ingress: false}"))
    assert allowed(loaded, FRONTEND, USERS)
    assert not allowed(loaded, USERS, FRONTEND)


def test_one_empty_rule_allows_nobody():
    assert who(policies(policy("ingress: [{}]"))) == set()


def test_one_empty_deny_rule_denies_nobody():
    loaded = policies(policy("ingressDeny: [{}]\ningress: [{fromEntities: [all]}]"))
    assert who(loaded) == set(EVERYONE)


def test_an_empty_selector_means_every_known_workload_not_the_world():
    assert who(policies(policy("ingress: [{fromEndpoints: [{}]}]"))) == {"workload"}


@pytest.mark.parametrize("field", ["fromEndpoints", "fromEntities", "fromCIDR", "fromCIDRSet"])
def test_an_empty_list_of_peers_means_nobody(field):
    assert who(policies(policy(f"ingress: [{{{field}: []}}]"))) == set()
    ports = "toPorts: [{ports: [{port: 80}]}]"
    assert who(policies(policy(f"ingress: [{{{field}: [], {ports}}}]"))) == set()


def test_an_empty_list_of_ports_means_no_port():
    assert who(policies(policy("ingress: [{fromEntities: [all], toPorts: []}]"))) == set()


# 2. Peers and ports.


def test_peers_and_ports_of_a_rule_must_both_match():
    loaded = policies(
        policy(
            "ingress: [{fromEndpoints: [{matchLabels: {app: frontend}}],"
            " toPorts: [{ports: [{port: 80, protocol: TCP}]}]}]"
        )
    )
    assert allowed(loaded)
    assert not allowed(loaded, client=INTRUDER)
    assert not allowed(loaded, port=81)


def test_rules_are_alternatives():
    loaded = policies(
        policy(
            "ingress: [{fromEndpoints: [{matchLabels: {app: frontend}}]},"
            " {toPorts: [{ports: [{port: 80}]}]}]"
        )
    )
    assert allowed(loaded, port=9999)
    assert allowed(loaded, client=INTRUDER)
    assert not allowed(loaded, client=INTRUDER, port=81)


def test_a_rule_without_peers_is_for_everyone():
    assert who(policies(policy("ingress: [{toPorts: [{ports: [{port: 80}]}]}]"))) == set(EVERYONE)


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        ("all", {"workload", "host", "world"}),
        ("world", {"world"}),
        ("host", {"host"}),
        ("cluster", {"workload", "host"}),
    ],
)
def test_entities(entity, expected):
    assert who(policies(policy(f"ingress: [{{fromEntities: [{entity}]}}]"))) == expected


def test_address_blocks_select_the_world_only():
    loaded = policies(policy('ingress: [{fromCIDR: ["0.0.0.0/0", "::/0"]}]'))
    assert who(loaded) == {"world"}


def test_address_blocks_have_holes():
    loaded = policies(
        policy("ingress: [{fromCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.128/25]}]}]")
    )
    assert allowed(loaded, world("203.0.113.127"))
    assert not allowed(loaded, world("203.0.113.128"))
    assert not allowed(loaded, world("203.0.114.1"))


def test_a_mapped_address_is_the_ipv4_address_it_stands_for():
    loaded = policies(policy("ingress: [{fromCIDR: [203.0.113.0/24]}]"))
    assert allowed(loaded, world("::ffff:203.0.113.1"))


@pytest.mark.parametrize(("port", "expected"), [(79, False), (80, True), (90, True), (91, False)])
def test_port_ranges_include_both_ends(port, expected):
    loaded = policies(policy("ingress: [{toPorts: [{ports: [{port: 80, endPort: 90}]}]}]"))
    assert allowed(loaded, port=port) is expected


def test_only_tcp_is_concerned():
    loaded = policies(
        policy("ingress: [{toPorts: [{ports: [{port: 53, protocol: UDP}, {port: 54}]}]}]")
    )
    assert not allowed(loaded, port=53)
    assert allowed(loaded, port=54)


# 3. Deny.


def test_a_deny_rule_always_wins():
    loaded = policies(
        policy("ingress: [{fromEntities: [all]}]", name="a-allow"),
        policy("ingressDeny: [{fromEndpoints: [{matchLabels: {app: intruder}}]}]", name="z-deny"),
    )
    answer = admission(loaded, INTRUDER)
    assert (answer.allowed, answer.reason) == (False, Reason.L4_DENY_RULE)
    assert (answer.policy, answer.rule) == ("z-deny", "ingressDeny[0]")
    assert allowed(loaded, FRONTEND)


def test_a_deny_rule_wins_with_default_deny_off_too():
    loaded = policies(
        policy(
            "ingressDeny: [{toPorts: [{ports: [{port: 22}]}]}]\nenableDefaultDeny: {ingress: false}"
        )
    )
    assert allowed(loaded, port=80)
    assert not allowed(loaded, port=22)


# 4. Moot allow lists, as far as connections go.


def test_http_rules_make_a_layer():
    answer = admission(policies(policy(http("{method: GET}"))))
    assert (answer.allowed, answer.reason) == (True, Reason.HTTP_RULES)
    (layer,) = answer.layers
    assert (layer.direction, layer.moot, len(layer.rules)) == (Direction.INGRESS, False, 1)


def test_an_l4_allow_leaves_no_layer_of_plain_allows():
    loaded = policies(
        policy(http("{method: GET}"), name="http"),
        policy("ingress: [{toPorts: [{ports: [{port: 80}]}]}]", name="l4"),
    )
    answer = admission(loaded)
    assert (answer.reason, answer.policy, answer.layers) == (Reason.L4_ALLOWED, "l4", ())


def test_an_l4_allow_for_other_peers_or_ports_changes_nothing():
    loaded = policies(
        policy(http("{method: GET}"), name="http"),
        policy("ingress: [{fromEntities: [host]}]", name="other-peer"),
        policy("ingress: [{toPorts: [{ports: [{port: 81}]}]}]", name="other-port"),
    )
    assert not admission(loaded).layers[0].moot


def test_an_l4_allow_keeps_the_layer_where_something_is_left_to_do():
    l4 = policy("ingress: [{fromEntities: [all]}]", name="l4")
    for rule in (
        "{path: /x, action: block}",
        '{action: forward, forward: {address: "10.0.0.4:80"}}',
        "{headerMatches: [{name: X, value: v, mismatch: LOG}]}",
    ):
        answer = admission(policies(l4, policy(http(rule))))
        assert answer.layers[0].moot


# 6. Order.


def test_rules_stand_in_order_of_policy_name_then_position():
    loaded = policies(
        policy(http("{path: /3}"), name="b"),
        policy(http("{path: /1}", "{path: /2}"), name="a"),
    )
    assert [rule.path for rule in admission(loaded).layers[0].rules] == ["/1", "/2", "/3"]


# 9. Namespaces.

ELSEWHERE = workload("users", "elsewhere", app="users")
VISITOR = workload("frontend", "elsewhere", app="frontend")


def test_a_namespaced_policy_selects_its_own_namespace():
    loaded = policies(policy("ingress: [{}]", namespace="elsewhere"))
    assert selects(loaded, ELSEWHERE, Direction.INGRESS)
    assert not selects(loaded, USERS, Direction.INGRESS)


def test_the_default_namespace_is_default():
    assert selects(policies(policy("ingress: [{}]")), USERS, Direction.INGRESS)
    assert not selects(policies(policy("ingress: [{}]")), ELSEWHERE, Direction.INGRESS)


def test_a_namespaced_policy_names_peers_of_its_own_namespace():
    loaded = policies(policy("ingress: [{fromEndpoints: [{matchLabels: {app: frontend}}]}]"))
    assert allowed(loaded, FRONTEND)
    assert not allowed(loaded, VISITOR)
    loaded = policies(policy("ingress: [{fromEndpoints: [{}]}]"))
    assert allowed(loaded, FRONTEND)
    assert not allowed(loaded, VISITOR)


@pytest.mark.parametrize(
    "selector",
    [
        '{matchLabels: {"k8s:io.kubernetes.pod.namespace": elsewhere}}',
        "{matchExpressions: [{key: io.kubernetes.pod.namespace, operator: In,"
        " values: [elsewhere]}]}",
    ],
)
def test_a_selector_may_name_another_namespace(selector):
    loaded = policies(policy(f"ingress: [{{fromEndpoints: [{selector}]}}]"))
    assert allowed(loaded, VISITOR)
    assert not allowed(loaded, FRONTEND)
    assert selects(
        policies(policy("ingress: [{}]", selector=selector)), ELSEWHERE, Direction.INGRESS
    )


def test_a_clusterwide_policy_sees_all_namespaces():
    loaded = policies(
        policy("ingress: [{fromEndpoints: [{}]}]", kind="CiliumClusterwideNetworkPolicy")
    )
    assert selects(loaded, ELSEWHERE, Direction.INGRESS)
    assert allowed(loaded, VISITOR)


# 10. Both directions.

TO_USERS = policy(
    "egress: [{toEndpoints: [{matchLabels: {app: users}}]}]",
    name="out",
    selector="{matchLabels: {app: frontend}}",
)


def test_both_directions_must_allow():
    inwards = policy("ingress: [{fromEndpoints: [{matchLabels: {app: frontend}}]}]", name="in")
    assert allowed(policies(TO_USERS, inwards))
    assert not allowed(policies(TO_USERS, policy("ingress: [{}]", name="in")))
    nowhere = policy("egress: [{}]", name="out", selector="{matchLabels: {app: frontend}}")
    assert not allowed(policies(nowhere, inwards))
    assert not allowed(policies(TO_USERS), FRONTEND, AUTH)


def test_layers_stand_in_the_order_a_request_meets_them():
    out = policy(
        http("{path: /out}", peers="toEndpoints: [{}]").replace("ingress", "egress"),
        name="out",
        selector="{matchLabels: {app: frontend}}",
    )
    answer = admission(policies(out, policy(http("{path: /in}"))))
    assert [layer.direction for layer in answer.layers] == [Direction.EGRESS, Direction.INGRESS]


def test_the_host_and_the_world_have_no_policies_of_their_own():
    every = policy("ingress: [{}]\negress: [{}]", selector="{}")
    assert not admit(policies(every), WORKLOADS, HOST, USERS, 80).allowed
    assert not admit(policies(every), WORKLOADS, USERS, HOST, 80).allowed
    assert admit(policies(every), WORKLOADS, HOST, world("203.0.113.9"), 80).allowed


def test_a_workload_may_always_reach_itself():
    answer = admission(policies(policy("ingress: [{}]\negress: [{}]")), USERS, USERS)
    assert (answer.allowed, answer.reason) == (True, Reason.SAME_WORKLOAD)


# What the datapath compiles from.

MANY = policies(
    policy(
        """\
        ingress:
        - fromCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.128/25]}]
          toPorts: [{ports: [{port: 80, endPort: 90}, {port: 53, protocol: UDP}]}]
        - fromCIDR: ["2001:db8::/32"]
        - toPorts: [{ports: [{port: 85, endPort: 65535}, {port: 0}]}]
        ingressDeny:
        - toPorts: [{ports: [{port: 22}]}]
        """
    )
)


def test_port_boundaries_are_where_the_answer_can_change():
    assert port_boundaries(MANY) == [22, 23, 80, 85, 91]
    clients = [FRONTEND, HOST, world("203.0.113.1"), world("2001:db8::1")]
    edges = [0, *port_boundaries(MANY), 65536]
    for client in clients:
        for low, high in pairwise(edges):
            answers = {admission(MANY, client, port=port) for port in (low, high - 1)}
            assert len(answers) == 1


def test_every_address_block_is_told_exceptions_included():
    assert set(map(str, cidrs(MANY))) == {"203.0.113.0/24", "203.0.113.128/25", "2001:db8::/32"}
