"""Roads: the cheapest that still enforces, and the reason for it."""

from __future__ import annotations

import pytest

from l7proxy.policy.roads import choose
from l7proxy.policy.verdict import Road
from tests.policy.support import FRONTEND, USERS, admission, http, policies, policy, world

PLAIN = policy(http("{method: GET, headers: [X]}", "{action: block, path: /x}"))
L4 = policy("ingress: [{fromEndpoints: [{}]}]")


def road(text: str, client=FRONTEND, **where):
    answer = admission(policies(text), client, USERS)
    return choose(answer, **{"server_is_local": True, **where})


def test_a_refused_connection_takes_none():
    assert road(L4, world("203.0.113.1")).road is Road.REFUSED


def test_without_http_rules_it_is_spliced():
    assert road(L4).road is Road.SPLICE
    assert road(policy("ingress: [{}]", selector="{matchLabels: {app: x}}")).road is Road.SPLICE


def test_rules_for_the_kernel_take_the_kernel_road_where_there_is_one():
    assert road(PLAIN, kernel_road=True).road is Road.KERNEL
    choice = road(PLAIN)
    assert choice.road is Road.PROXY
    assert "no kernel road" in choice.reason


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ('{action: forward, forward: {address: "10.0.0.4:80"}, name: f}', "rule f of policy test"),
        ("{headerMatches: [{name: X, mismatch: LOG}]}", "logs or changes headers"),
    ],
)
def test_what_needs_user_space_takes_the_proxy(rule, reason):
    choice = road(policy(http("{}", rule)), kernel_road=True)
    assert choice.road is Road.PROXY
    assert reason in choice.reason


def test_a_server_elsewhere_takes_the_proxy():
    choice = road(PLAIN, kernel_road=True, server_is_local=False)
    assert (choice.road, choice.reason) == (
        Road.PROXY,
        "the server is not a workload of this node",
    )


def test_a_server_whose_sockets_are_left_alone_takes_the_proxy():
    choice = road(PLAIN, kernel_road=True, short_circuit=False)
    assert choice.road is Road.PROXY
    assert "short-circuit off" in choice.reason
    assert road(L4, short_circuit=False).road is Road.SPLICE


def test_rules_that_the_kernel_has_no_room_for_take_the_proxy():
    asked = []

    def unfit(admitted):
        asked.append(admitted)
        return "too many"

    choice = road(PLAIN, kernel_road=True, unfit=unfit)
    assert (choice.road, choice.reason) == (Road.PROXY, "too many")
    assert len(asked) == 1
    assert road(PLAIN, kernel_road=True, unfit=lambda _: None).road is Road.KERNEL
    # Compiling costs time: it is asked last, and of nothing that goes another way.
    for where in ({"server_is_local": False}, {"kernel_road": False}, {"forced_proxy": True}):
        road(PLAIN, **{"kernel_road": True, "unfit": unfit, **where})
    road(L4, kernel_road=True, unfit=unfit)
    assert len(asked) == 1


def test_the_proxy_can_be_asked_for():
    assert road(PLAIN, kernel_road=True, forced_proxy=True).road is Road.PROXY
    asking = policy(http("{}").replace("rules:", "rules:\n      datapath: proxy"))
    assert road(asking, kernel_road=True).road is Road.PROXY
    assert road(L4, forced_proxy=True).road is Road.SPLICE
