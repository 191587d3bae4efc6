"""Which admissions the kernel can decide, and what is said of the others."""

from __future__ import annotations

from l7proxy.compiler.cache import DfaCache
from l7proxy.compiler.execute import decide_tables
from l7proxy.compiler.fit import KernelFit
from l7proxy.compiler.tables import Tables
from l7proxy.limits import Limits
from l7proxy.policy.model import Backend, HeaderRule, HttpRule, RuleAction
from l7proxy.policy.verdict import Action
from tests.compiler.test_execute import of
from tests.policy.support import request

FIT = KernelFit(Limits())


def test_rules_that_fit_have_tables() -> None:
    admission = of(HttpRule("p", "0", path="/a"))
    tables = FIT.tables(admission)
    assert isinstance(tables, Tables)
    assert FIT.unfit(admission) is None
    assert decide_tables(tables, request("GET /a")).action is Action.ALLOW


def test_rules_are_compiled_once() -> None:
    rules = (HttpRule("p", "0", path="/a"), HttpRule("p", "1", path="/b"))
    assert FIT.tables(of(*rules)) is FIT.tables(of(*rules))
    assert FIT.tables(of(*rules)) is not FIT.tables(of(*rules, default_allow=True))
    assert FIT.tables(of(*rules)) is not FIT.tables(of(*reversed(rules)))


def test_automata_outlive_one_policy_set() -> None:
    cache = DfaCache()
    for number in range(3):
        KernelFit(Limits(), cache).tables(of(HttpRule("p", str(number), path="/same")))
    assert len(cache) == 1


def test_what_does_not_fit_says_why() -> None:
    forward = HttpRule("p", "f", RuleAction.FORWARD, backend=Backend(80))
    for rules, said in (
        ((forward,), "forwards requests"),
        ((HttpRule("p", "0", path=r"/\C"),), "no table for these rules: "),
        ((HttpRule("p", "0", path="/.*a[a-z]{20}"),), "states or more: more than one of"),
        (tuple(HttpRule("p", str(n), path="/a") for n in range(2100)), "bytes: more than the"),
        (headers(14, 3), "the limit is 13"),
        (headers(13, 60), "states or more: more than one of"),
        ((HttpRule("p", "0", headers=(HeaderRule(b"host"),)),), "Host as a header"),
    ):
        assert said in str(FIT.unfit(of(*rules)))


def headers(count: int, length: int) -> tuple[HttpRule, ...]:
    names = ((f"{number:02}-" + "x" * length).encode() for number in range(count))
    return tuple(HttpRule("p", "0", headers=(HeaderRule(name),)) for name in names)


def test_heads_that_are_too_long_to_count() -> None:
    fit = KernelFit(Limits(head_bytes=70_000))
    assert fit.unfit(of(HttpRule("p", "0", path="/a"))) == (
        "limits.head_bytes is over 60000, which is the most that is counted"
    )
