"""Dry run: audited policies are decided and recorded, and change nothing for anybody.

Seen to fail, the random policy sets among them each time: with ``admit`` enforcing all sides, with
either half of ``audit._is_stricter`` left out, with every verdict of all policies together taken
for a refusal, and with the roads of ``policy.roads`` as if nothing were audited.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from l7proxy.policy import documents
from l7proxy.policy.audit import all_enforced
from l7proxy.policy.check import check
from l7proxy.policy.decide import Decider, admit
from l7proxy.policy.explain import explain
from l7proxy.policy.model import PolicySet
from l7proxy.policy.roads import choose
from l7proxy.policy.verdict import Action, Road, Verdict
from l7proxy.reasons import Reason
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
    refusal,
    request,
    verdict,
    world,
)

AUDITED = "audit: true\n"
FROM_FRONTEND = "fromEndpoints: [{matchLabels: {app: frontend}}]"
READ = http("{name: read, method: GET, path: /a}", peers=FROM_FRONTEND)
DRY = policy(AUDITED + READ, name="dry")


def audit_of(of: PolicySet, what: str, **who) -> tuple[Reason, str | None, str | None] | None:
    found = verdict(of, what, **who)
    assert found.action is not Action.BLOCK
    would = found.audit
    return None if would is None else (would.reason, would.policy, would.rule)


# What is enforced, and what is recorded.


def test_default_deny_of_an_audited_policy_is_recorded_and_not_enforced():
    loaded = policies(DRY)
    assert verdict(loaded, "GET /a") == Verdict(Action.ALLOW, Reason.NO_POLICY)
    assert audit_of(loaded, "GET /b") == (Reason.NO_RULE_MATCHED, None, None)
    assert audit_of(loaded, "GET /a", client=INTRUDER) == (Reason.L4_DEFAULT_DENY, "dry", None)
    assert admission(loaded, INTRUDER).allowed


def test_without_audit_the_same_is_refused():
    loaded = all_enforced(policies(DRY))
    assert verdict(loaded, "GET /b").reason is Reason.NO_RULE_MATCHED
    assert not admission(loaded, INTRUDER).allowed


def test_an_audited_block_names_its_rule():
    allow = policy(http("{}"), name="all")
    block = policy(AUDITED + http("{path: /b, action: block, name: no-b}"), name="dry")
    loaded = policies(allow, block)
    assert audit_of(loaded, "GET /a") is None
    assert audit_of(loaded, "GET /b") == (Reason.RULE_BLOCKED, "dry", "no-b")
    assert verdict(loaded, "GET /b").policy == "all"


def test_an_audited_deny_rule_is_recorded():
    deny = policy(
        AUDITED + "ingressDeny: [{fromEndpoints: [{matchLabels: {app: frontend}}]}]", name="dry"
    )
    loaded = policies(policy(http("{}")), deny)
    assert audit_of(loaded, "GET /") == (Reason.L4_DENY_RULE, "dry", "ingressDeny[0]")


@pytest.mark.parametrize("rules", [http("{}"), "ingress: [{fromEndpoints: [{}]}]"])
def test_an_audited_policy_opens_nothing(rules):
    loaded = policies(policy(http("{path: /a}")), policy(AUDITED + rules, name="dry"))
    assert verdict(loaded, "GET /b").reason is Reason.NO_RULE_MATCHED
    assert admission(loaded).audit is None
    other_port = verdict(loaded, "GET /b", port=81)
    assert other_port.reason is Reason.L4_DEFAULT_DENY
    assert verdict(all_enforced(loaded), "GET /b").action is Action.ALLOW


def test_effects_of_audited_rules_are_not_carried_out():
    dry = policy(
        AUDITED
        + http(
            '{path: /f, action: forward, forward: {address: "10.0.0.8:80"}}',
            "{path: /h, headerMatches: [{name: X, value: v, mismatch: ADD}]}",
        ),
        name="a-dry",
    )
    for line in ("GET /f", "GET /h"):
        found = verdict(policies(dry, policy(http("{}"))), line)
        assert (found.action, found.policy, found.backend, found.edits) == (
            Action.ALLOW, "test", None, (),
        )  # fmt: skip


def test_both_directions_are_audited_alike():
    egress = policy(
        AUDITED + "egress: [{toPorts: [{ports: [{port: 80}], rules: {http: [{path: /a}]}}]}]",
        selector="{matchLabels: {app: frontend}}",
        name="dry",
    )
    assert audit_of(policies(egress), "GET /b") == (Reason.NO_RULE_MATCHED, None, None)
    assert audit_of(policies(egress), "GET /a") is None


def test_bytes_that_no_rule_can_read_are_served_where_only_audited_rules_look():
    odd = dataclasses.replace(request("GET /a"), path=b"/\xff")
    found = verdict(policies(DRY), odd)
    assert (found.action, found.audit.reason) == (Action.ALLOW, Reason.BAD_TARGET)


# Documents.


def test_only_an_l7_policy_has_audit():
    text = policy(AUDITED + "ingress: [{}]", kind="CiliumNetworkPolicy")
    assert refusal(text) == [
        "6: spec.audit: only kind L7Policy (l7proxy.io/v1alpha1) has this field"
    ]
    assert refusal("[{endpointSelector: {}, audit: true, ingress: [{}]}]") == [
        "1: [0].audit: only kind L7Policy (l7proxy.io/v1alpha1) has this field"
    ]


def test_audit_is_a_boolean_and_part_of_the_meaning():
    assert refusal(policy("audit: 1\ningress: [{}]")) == ["6: spec.audit: must be true or false"]
    digests = {
        policies(policy(f"audit: {value}\ningress: [{{}}]")).digest for value in ("true", "false")
    }
    assert len(digests) == 2


def test_each_of_several_specs_has_its_own():
    text = (
        "apiVersion: l7proxy.io/v1alpha1\nkind: L7Policy\nmetadata: {name: two}\nspecs:\n"
        "- {endpointSelector: {matchLabels: {app: users}}, audit: true, ingress: [{}]}\n"
        "- {endpointSelector: {matchLabels: {app: auth}}, ingress: [{}]}\n"
    )
    loaded = policies(text)
    assert admission(loaded, server=USERS).allowed
    assert not admission(loaded, server=AUTH).allowed


# Roads.


def road(of: PolicySet, **who):
    return choose(admission(of, **who), server_is_local=True, kernel_road=True)


def test_an_audited_http_policy_takes_the_proxy():
    for client in (FRONTEND, INTRUDER):
        choice = road(policies(DRY), client=client)
        assert choice.road is Road.PROXY
        assert "policy dry is audited" in choice.reason


def test_a_port_without_http_rules_is_left_alone_and_says_so():
    choice = road(policies(DRY), port=22)
    assert choice.road is Road.SPLICE
    assert "policy dry is audited: what would be refused is let through unrecorded" in choice.reason


def test_egress_rules_tell_who_speaks_http_only_of_the_servers_they_name():
    egress = policy(
        AUDITED + "egress: [{toEndpoints: [{matchLabels: {app: users}}], toPorts: "
        "[{ports: [{port: 80}], rules: {http: [{}]}}]}]",
        selector="{matchLabels: {app: frontend}}",
        name="dry",
    )
    # Only what is allowed anyhow goes to users; the rest is not known to be HTTP.
    assert road(policies(egress), server=AUTH).road is Road.SPLICE
    assert admission(policies(egress), server=AUTH).audit is not None


def test_an_audit_that_could_refuse_nothing_more_costs_no_road():
    loaded = policies(policy(http("{path: /a}")), policy(AUDITED + http("{path: /b}"), name="dry"))
    assert road(loaded).road is Road.KERNEL
    refused = road(loaded, port=81)
    assert refused.road is Road.REFUSED


# check.


def rows(*texts: str) -> list[tuple[str, str, str]]:
    found = check(policies(*texts), WORKLOADS, unfit=lambda admission: None).destinations
    return [(row.port, row.road, row.reason) for row in found]


def test_check_tells_for_each_destination_what_audit_means():
    (http_port, others) = rows(DRY)
    assert http_port[:2] == ("80", "proxy")
    assert http_port[2].startswith("policy dry is audited")
    assert others[:2] == ("other ports", "splice")
    assert others[2].endswith("is let through unrecorded, as no HTTP rule names the port")


def test_check_shows_that_audited_rules_open_nothing():
    enforced = policy(http("{path: /a}"))
    (first, second) = rows(enforced, policy(AUDITED + http("{}", port=81), name="dry"))
    assert first[:2] == ("80", "kernel")
    assert second == ("81", "refused", Reason.L4_DEFAULT_DENY.meaning)


def warnings(*texts: str) -> list[str]:
    return [each.message for each in check(policies(*texts)).warnings]


def test_an_audit_flag_without_effect_is_warned_of():
    (warning,) = warnings(
        policy(http("{path: /a}")), policy(AUDITED + http("{path: /b}"), name="dry")
    )
    assert warning.startswith("audit: true of policy dry will record nothing")
    assert warnings(DRY) == []
    block = policy(AUDITED + http(r"{path: '/b(\?.*)?', action: block}"), name="dry")
    assert warnings(policy(http("{path: /a}")), block) == []
    # Another workload's default deny is none of its own.
    other = policy(http("{path: /a}"), selector="{matchLabels: {app: auth}}")
    assert warnings(other, DRY) == []


def test_audited_rules_make_no_enforced_rule_moot():
    dry = policy(AUDITED + "ingressDeny: [{toPorts: [{ports: [{port: 80}]}]}]", name="dry")
    assert warnings(policy(http("{path: /a}")), dry) == []
    enforced = policy("ingressDeny: [{toPorts: [{ports: [{port: 80}]}]}]", name="deny")
    assert len(warnings(policy(AUDITED + http("{path: /a}")), enforced)) == 2


# explain.


def told(of: PolicySet, line: str, client=FRONTEND, port: int = 80):
    return explain(of, WORKLOADS, client, USERS, port, request(line))


def test_an_explanation_says_what_is_and_what_would_be():
    answer = told(policies(DRY), "PUT /a")
    document = answer.as_json()
    assert (document["verdict"], document["reason"]) == ("FORWARDED", "no-policy")
    assert document["audit"] == {
        "policies": ["dry"],
        "verdict": "DROPPED",
        "action": "block",
        "backend": None,
        "policy": None,
        "rule": None,
        "reason": "no-rule-matched",
        "recorded": True,
    }
    assert answer.exit_code == 0
    assert [str(miss) for miss in answer.nearest.misses] == ["method is PUT, the rule wants GET"]


def test_an_explanation_tells_what_would_be_opened_too():
    loaded = policies(policy(http("{path: /a}")), policy(AUDITED + http("{path: /b}"), name="dry"))
    answer = told(loaded, "GET /b")
    assert answer.exit_code == 22
    assert answer.nearest.policy == "test"
    audit = answer.as_json()["audit"]
    assert (audit["verdict"], audit["policy"], audit["recorded"]) == ("FORWARDED", "dry", False)


def test_what_nobody_sees_is_not_said_to_be_recorded():
    audit = told(policies(DRY), "GET /a", port=22).as_json()["audit"]
    assert (audit["verdict"], audit["recorded"]) == ("DROPPED", False)


def test_nothing_is_said_of_audit_where_none_concerns_the_two():
    assert told(policies(policy(http("{}"))), "GET /").as_json()["audit"] is None
    loaded = policies(policy(AUDITED + http("{}"), selector="{matchLabels: {app: auth}}"))
    assert told(loaded, "GET /").as_json()["audit"] is None


# Random policy sets.

PEERS = {
    "ingress": ("fromEndpoints: [{}]", FROM_FRONTEND, "fromEntities: [world]"),
    "egress": ("toEndpoints: [{}]", "toEndpoints: [{matchLabels: {app: users}}]"),
}
SUBJECTS = {"ingress": "{matchLabels: {app: users}}", "egress": "{matchLabels: {app: frontend}}"}
HTTP_RULES = (
    "{}",
    "{path: /a}",
    "{path: '/a.*'}",
    "{method: GET}",
    "{method: PUT, path: /b}",
    "{headers: [X]}",
    "{path: /b, action: block}",
    "{method: PUT, action: block}",
    '{path: /a, action: forward, forward: {address: "10.0.0.8:80"}}',
    "{path: /c, action: forward, forward: {endpoints: {matchLabels: {app: nobody}}, port: 80}}",
    "{headerMatches: [{name: Y, value: v, mismatch: REPLACE}]}",
)
REQUESTS = [
    request(f"{method} {path}", **headers)
    for method in ("GET", "PUT")
    for path in ("/a", "/b", "/ab", "/c")
    for headers in ({}, {"x": "1"}, {"y": "w"})
]
CLIENTS = (FRONTEND, INTRUDER, world("203.0.113.1"))


def random_policy(choose: random.Random, name: str) -> str:
    """A policy of the requests' server, or now and then of their client."""
    direction = choose.choice(("ingress", "ingress", "ingress", "egress"))
    peers = PEERS[direction]
    rules = []
    for _ in range(choose.randrange(3)):
        listed = ", ".join(choose.choices(HTTP_RULES, k=choose.randrange(4)))
        layer = f", rules: {{http: [{listed}]}}" if listed else ""
        port = choose.choice((80, 80, 81))
        rules.append(f"{{{choose.choice(peers)}, toPorts: [{{ports: [{{port: {port}}}]{layer}}}]}}")
    text = f"audit: {choose.choice(('true', 'false'))}\n"
    text += f"{direction}: [{', '.join(rules) or '{}'}]\n"
    if choose.random() < 0.2:
        text += f"enableDefaultDeny: {{{direction}: false}}\n"
    if choose.random() < 0.15:
        text += f"{direction}Deny: [{{{peers[1]}}}]\n"
    return policy(text, name=name, selector=SUBJECTS[direction])


def random_sets(count: int) -> Iterator[PolicySet]:
    choose = random.Random(20)
    for _ in range(count):
        size = choose.randrange(1, 4)
        yield policies(*(random_policy(choose, f"p{at}") for at in range(size)))


def enforced_only(of: PolicySet) -> PolicySet:
    """The set as if its audited policies did not exist."""
    return documents.policy_set(each for each in of.policies if not each.audited)


def test_auditing_refuses_nothing_and_opens_nothing():
    seen: Counter[tuple[bool, bool]] = Counter()
    for loaded in random_sets(250):
        without, together = enforced_only(loaded), all_enforced(loaded)
        for client in CLIENTS:
            ends = (WORKLOADS, client, USERS, 80)
            real = admit(loaded, *ends)
            assert dataclasses.replace(real, audit=None) == admit(without, *ends)
            choice = choose(real, server_is_local=True, kernel_road=True)
            assert (choice.road is Road.REFUSED) == (not real.allowed)
            deciders = [
                Decider(admitted, WORKLOADS)
                for admitted in (real, admit(without, *ends), admit(together, *ends))
            ]
            for what in REQUESTS:
                found, enforced, all_of_them = (each.decide(what) for each in deciders)
                assert dataclasses.replace(found, audit=None) == enforced
                is_served = enforced.action is not Action.BLOCK
                would_be_served = all_of_them.action is not Action.BLOCK
                expected = all_of_them if is_served and not would_be_served else None
                assert found.audit == expected
                if expected is not None and real.layers:
                    assert choice.road is Road.PROXY
                seen[is_served, would_be_served] += 1
    # Every case of the four is there, and none of them rarely.
    assert min(seen[served, would] for served in (True, False) for would in (True, False)) > 100


def test_a_workload_that_talks_to_itself_is_not_audited():
    assert admission(policies(DRY), USERS, USERS).audit is None
