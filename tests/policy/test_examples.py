"""The policies that ship with l7proxy: each loads, warns of nothing, and does what it says."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from l7proxy.policy.check import check
from l7proxy.policy.documents import load_paths
from l7proxy.policy.verdict import Action, HeaderEdit
from l7proxy.reasons import Reason
from l7proxy.workloads.model import HOST
from tests.policy.support import (
    FRONTEND,
    INTRUDER,
    admission,
    request,
    verdict,
    workload,
    world,
)

FOLDER = Path(__file__).parents[2] / "policies"
EXAMPLES = sorted((FOLDER / "examples").iterdir())


@pytest.mark.parametrize("path", [FOLDER, *EXAMPLES], ids=lambda path: path.name)
def test_loads_without_a_warning(path):
    loaded = load_paths([path])
    assert loaded.policies
    assert check(loaded).warnings == ()


@pytest.mark.parametrize(
    ("line", "action", "rule"),
    [
        ("GET /users", Action.ALLOW, "read-users"),
        ("GET /users/1", Action.ALLOW, "read-users"),
        ("POST /login", Action.FORWARD, "login"),
        ("GET /users/root", Action.BLOCK, "no-root"),
        ("GET /users/root?x=1", Action.BLOCK, "no-root"),
        ("GET /users/root/x", Action.BLOCK, "no-root"),
        ("GET /users/rooted", Action.ALLOW, "read-users"),
        ("PUT /users", Action.BLOCK, None),
        ("GET /login", Action.BLOCK, None),
    ],
)
def test_users_api(line, action, rule):
    answer = verdict(load_paths([FOLDER]), line)
    assert (answer.action, answer.rule) == (action, rule)
    if action is Action.FORWARD:
        assert answer.backend == (ip_address("10.0.0.4"), 8080)


def test_users_api_lets_nobody_else_connect():
    for client in (INTRUDER, HOST, world("203.0.113.1")):
        assert not admission(load_paths([FOLDER]), client).allowed


def test_star_wars():
    loaded = load_paths([FOLDER / "examples/star-wars.yaml"])
    deathstar = workload("deathstar", **{"org": "empire", "class": "deathstar"})
    tiefighter = workload("tiefighter", org="empire")
    landing = verdict(loaded, "POST /v1/request-landing", tiefighter, deathstar)
    assert landing.action is Action.ALLOW
    exhaust = verdict(loaded, "PUT /v1/exhaust-port", tiefighter, deathstar)
    assert exhaust.action is Action.BLOCK
    assert not admission(loaded, workload("xwing", org="alliance"), deathstar).allowed


def test_l4_only():
    loaded = load_paths([FOLDER / "examples/l4-only.yaml"])
    database = workload("database")
    backend = workload("backend", tier="backend")
    suspect = workload("suspect", tier="backend", quarantine="true")
    assert admission(loaded, backend, database, 5432).allowed
    assert admission(loaded, backend, database, 5432).layers == ()
    assert not admission(loaded, suspect, database, 5432).allowed
    assert admission(loaded, HOST, database, 9009).allowed
    assert not admission(loaded, HOST, database, 9010).allowed
    assert not admission(loaded, FRONTEND, database, 5432).allowed


def test_egress():
    loaded = load_paths([FOLDER / "examples/egress.yaml"])
    crawler, search = workload("crawler"), workload("search")
    find = verdict(loaded, "GET /articles/_search?q=x", crawler, search, 9200)
    assert find.action is Action.ALLOW
    store = request("PUT /articles/7", content_type="application/json")
    assert verdict(loaded, store, crawler, search, 9200).action is Action.ALLOW
    assert verdict(loaded, "PUT /articles/7", crawler, search, 9200).action is Action.BLOCK
    news = request("GET /today", host="news.example")
    assert verdict(loaded, news, crawler, world("192.0.2.1")).action is Action.ALLOW
    other = request("GET /today", host="other.example")
    assert verdict(loaded, other, crawler, world("192.0.2.1")).action is Action.BLOCK
    assert not admission(loaded, crawler, world("192.0.2.200")).allowed
    assert admission(loaded, crawler, FRONTEND, 53).allowed
    assert not admission(loaded, crawler, FRONTEND, 80).allowed


def test_headers():
    loaded = load_paths([FOLDER / "examples/headers.yaml"])
    shop, orders = workload("shop"), workload("orders")
    admin = request("GET /admin", x_role="admin", x_audit_id="7")
    assert verdict(loaded, admin, shop, orders, 8080).rule == "admin"
    no_audit = request("GET /admin", x_role="admin")
    assert verdict(loaded, no_audit, shop, orders, 8080).action is Action.BLOCK
    answer = verdict(loaded, request("GET /orders", x_debug="on"), shop, orders, 8080)
    assert answer.edits == (
        HeaderEdit(b"x-tenant", b"shop"),
        HeaderEdit(b"x-debug", None),
        HeaderEdit(b"x-via-policy", b"orders", append=True),
    )
    assert "x-client-version: is missing" in answer.logged


def test_audit():
    loaded = load_paths([FOLDER / "examples/audit.yaml"])
    billing, shop = workload("billing"), workload("shop")
    assert verdict(loaded, "GET /invoices", shop, billing, 8080).audit is None
    change = verdict(loaded, "PUT /invoices/7", shop, billing, 8080)
    assert (change.action, change.rule, change.audit.rule) == (Action.ALLOW, "any", "no-changes")
    old = verdict(loaded, "GET /invoices", workload("old-reports"), billing, 8080)
    assert (old.action, old.audit.reason) == (Action.ALLOW, Reason.L4_DENY_RULE)
