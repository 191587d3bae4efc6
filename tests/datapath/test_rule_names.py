"""Which policy and rule the kernel's numbers stand for, also for the agent that comes next."""

from __future__ import annotations

from pathlib import Path

from l7proxy.compiler.admission import compile_admission
from l7proxy.compiler.rules_map import rules_id
from l7proxy.compiler.tables import Tables
from l7proxy.datapath.rule_names import NO_RULE, Attribution, RuleNames
from l7proxy.policy.model import Direction, HttpRule, RuleAction
from l7proxy.policy.verdict import Admission, HttpLayer
from l7proxy.reasons import Reason


def tables(policy: str, *, default_allow: bool = False) -> Tables:
    """Two rules, of which the second blocks: in the kernel it comes first."""
    rules = tuple(
        HttpRule(policy=policy, label=label, action=action, path=f"/{label}")
        for label, action in (("read", RuleAction.ALLOW), ("never", RuleAction.BLOCK))
    )
    layer = HttpLayer(Direction.INGRESS, rules, default_allow=default_allow)
    return compile_admission(Admission(True, Reason.HTTP_RULES, layers=(layer,)))


def test_names(tmp_path: Path) -> None:
    names = RuleNames(tmp_path / "names")
    mine, others = tables("mine"), tables("others", default_allow=True)
    for each in (mine, others):
        names.learn(each)
    allowed, blocked = Reason.RULE_ALLOWED, Reason.RULE_BLOCKED
    number = rules_id(mine)
    assert names.attribution(number, 0, blocked) == Attribution(blocked, "mine", "never")
    assert names.attribution(number, 1, allowed) == Attribution(allowed, "mine", "read")
    none = Reason.NO_RULE_MATCHED
    assert names.attribution(number, 1, none) == Attribution(none)
    assert names.attribution(number, NO_RULE, Reason.BAD_HOST) == Attribution(Reason.BAD_HOST)
    number = rules_id(others)
    assert names.attribution(number, 1, allowed) == Attribution(allowed, "others", "read")
    assert names.attribution(number, NO_RULE, allowed) == Attribution(Reason.DEFAULT_ALLOWED)
    assert names.attribution(7, 1, allowed) == Attribution(allowed)


def test_the_next_agent_knows_them(tmp_path: Path) -> None:
    path = tmp_path / "names"
    first = RuleNames(path)
    mine = tables("mine")
    first.learn(mine)
    first.save()
    wanted = Attribution(Reason.RULE_ALLOWED, "mine", "read")
    assert RuleNames(path).attribution(rules_id(mine), 1, Reason.RULE_ALLOWED) == wanted
    path.write_text('[[1, "no-such-reason", []]]')
    assert RuleNames(path).attribution(1, 0, Reason.RULE_ALLOWED).rule is None
