from __future__ import annotations

import json
from typing import Any

import pytest

from l7proxy.observe.filters import FILTERS, Filters
from l7proxy.observe.flows import to_flow
from l7proxy.policy.verdict import Road
from l7proxy.reasons import Reason
from l7proxy.workloads.model import HOST, Workload
from tests.observe.records import FRONTEND, USERS, denied, record

SHOP = Workload("shop", "users-7", {"app": "users", "tier": "back"})

SERVED = record()
REFUSED = denied(method=b"POST", path=b"/admin/%41?x=1", direction="EGRESS", road=Road.KERNEL)
BLOCKED = denied(client=HOST, server=SHOP, reason=Reason.RULE_BLOCKED, rule="no-root", policy="p")
FAILED = record(client=USERS, server=FRONTEND, verdict="ERROR", status=503, policy=None, rule=None)
RECORDS = {"served": SERVED, "refused": REFUSED, "blocked": BLOCKED, "failed": FAILED}
FLOWS = {name: to_flow(each, "n")["flow"] for name, each in RECORDS.items()}


def shown(*given: str, **flows: Any) -> set[str]:
    """The names of the flows that filters let through: ``name=value``, ``!name=value``."""
    filters = Filters()
    for each in given:
        name, _, value = each.lstrip("!").partition("=")
        filters.add(name, value, negated=each.startswith("!"))
    return {name for name, flow in (flows or FLOWS).items() if filters.matches(flow)}


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("from-pod=frontend", {"served", "refused"}),
        ("from-pod=default/front", {"served", "refused"}),
        ("to-pod=users", {"served", "refused"}),
        ("to-pod=shop/users", {"blocked"}),
        ("to-pod=shop/", {"blocked"}),
        ("pod=default/users", {"served", "refused", "failed"}),
        ("from-namespace=default", {"served", "refused", "failed"}),
        ("to-namespace=shop", {"blocked"}),
        ("namespace=shop", {"blocked"}),
        ("from-label=app=frontend", {"served", "refused"}),
        ("label=k8s:tier=back", {"blocked"}),
        ("label=reserved:host", {"blocked"}),
        ("to-label=app in (frontend, x)", {"failed"}),
        ("from-ip=10.0.0.0/24", {"served", "refused", "blocked", "failed"}),
        ("to-ip=10.0.0.1", set()),
        ("ip=10.0.0.2", {"served", "refused", "blocked", "failed"}),
        ("from-port=40000", {"served", "refused", "blocked", "failed"}),
        ("to-port=40000", set()),
        ("port=80", {"served", "refused", "blocked", "failed"}),
        ("verdict=DROPPED", {"refused", "blocked"}),
        ("http-method=post", {"refused"}),
        ("http-path=^/admin/A$", {"refused"}),
        ("http-path=x=1", set()),
        ("http-url=x=1$", {"refused"}),
        ("slower=2ms", {"served", "failed"}),
        ("slower=2.2ms", set()),
        ("http-status=403", {"refused", "blocked"}),
        ("http-status=5+", {"failed"}),
        ("http-status=20+", {"served"}),
        ("http-header=x-request-id: 4c1b", {"served", "refused", "blocked", "failed"}),
        ("http-header=X-Request-Id:4c", set()),
        ("protocol=http", {"served", "refused", "blocked", "failed"}),
        ("protocol=udp", set()),
        ("type=l7", {"served", "refused", "blocked", "failed"}),
        ("type=drop", set()),
        ("traffic-direction=egress", {"refused"}),
        ("drop-reason-desc=POLICY_DENY", {"blocked"}),
        ("road=kernel", {"refused"}),
        ("reason=no-rule-matched", {"refused"}),
        ("policy=users-api", {"served", "refused"}),
        ("policy=default/users-api", {"served", "refused"}),
        ("rule=no-root", {"blocked"}),
    ],
)
def test_each_filter_looks_at_its_own_field(given: str, names: set[str]) -> None:
    assert shown(given) == names
    assert shown(f"!{given}") == FLOWS.keys() - names


def test_every_filter_has_a_case_above() -> None:
    [mark] = test_each_filter_looks_at_its_own_field.pytestmark
    assert {given.partition("=")[0] for given, _ in mark.args[1]} == FILTERS.keys()


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["verdict=ERROR", "verdict=FORWARDED"], {"served", "failed"}),
        (["verdict=DROPPED", "road=proxy"], {"blocked"}),
        (["!verdict=DROPPED", "!verdict=ERROR"], {"served"}),
        (["verdict=DROPPED", "!road=kernel"], {"blocked"}),
        # Several negated ones take away only what matches them all.
        (["!verdict=DROPPED", "!road=kernel"], {"served", "blocked", "failed"}),
        (["namespace=shop", "from-label=reserved:host"], {"blocked"}),
        (["pod=users", "namespace=shop"], {"blocked"}),
        (["pod=users", "namespace=shop", "namespace=default"], set(FLOWS)),
        # One and the same end has both.
        (["pod=frontend", "label=app=users"], set()),
        (["pod=frontend", "label=app=frontend"], {"served", "refused", "failed"}),
    ],
)
def test_alternatives_conjunctions_and_negations_are_hubbles(
    given: list[str], names: set[str]
) -> None:
    assert shown(*given) == names


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["from-ip=10.0.0.1", "from-pod=a"], "--from-pod cannot be combined with --from-ip"),
        (["label=a", "to-label=b"], "--to-label cannot be combined with --label"),
        (["pod=shop/a", "namespace=default"], "shop/a is not in the namespace default"),
        (["from-ip=10.0.0.300"], "is not an address"),
        (["port=http"], "is not a port"),
        (["port=70000"], "is not a port"),
        (["verdict=NO"], "is not a verdict: one of FORWARDED"),
        (["http-status=6+"], "is not a status"),
        (["slower=fast"], "is not a duration"),
        (["slower=-1s"], "is not a duration"),
        (["http-path=("], "not a regular expression"),
        (["http-path=\udcff"], "not valid Unicode"),
        (["http-header=x"], "is not a header"),
        (["protocol=quic"], "is not a protocol"),
        (["type=l8"], "is not a type of event"),
        (["label=a=b=c"], "is not a label selector"),
        (["namespace=a/b"], "is not a namespace"),
        (["pod=/a"], "is not a pod"),
        (["road=high"], "is not a road"),
        (["reason=no"], "is not a reason"),
    ],
)
def test_what_a_filter_does_not_take_is_told(given: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shown(*given)


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        ("app", True),
        ("!app", False),
        ("any:app=users", True),
        ("container:app", False),
        ("app!=users", False),
        ("gone!=users", True),
        ("app notin (a, b),tier", True),
        ("app in (users),tier==back", True),
        ("app=users,tier=front", False),
    ],
)
def test_label_selectors_are_those_of_kubernetes(selector: str, holds: bool) -> None:
    assert (shown(f"to-label={selector}", flow=FLOWS["blocked"]) == {"flow"}) is holds


def test_flows_of_any_shape_are_looked_at() -> None:
    odd: list[Any] = [None, 1, "x", [], {}, [None], {"key": 1}, 1e9, True]
    keys = ("source", "destination", "l7", "l4", "IP", "event_type", "extensions", "verdict")
    flows = [dict.fromkeys(keys, value) for value in odd]
    flows += [{"l7": {"http": dict.fromkeys(("url", "code", "headers"), each)}} for each in odd]
    flows += [{"l7": {"http": {"url": url}}} for url in ("http://[", "", "\ud800", "/" * 100)]
    values = {"pod": "a", "namespace": "a", "label": "a", "ip": "::/0", "port": "1", "type": "l7"}
    values |= {"http-status": "5+", "http-header": "a:", "protocol": "http", "road": "proxy"}
    values |= {"slower": "1ms"}
    values |= {"verdict": "ERROR", "traffic-direction": "egress", "reason": "no-policy"}
    for name in FILTERS:
        filters = Filters()
        filters.add(name, values.get(name.removeprefix("from-").removeprefix("to-"), "x"))
        for flow in flows:
            assert filters.matches(flow) in (True, False), json.dumps(flow)
