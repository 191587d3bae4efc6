"""Replaying: which verdicts would change, and what is left open."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from l7proxy.policy.decide import Decider, admit
from l7proxy.policy.verdict import Action
from l7proxy.reasons import Reason
from l7proxy.replay import changes, unknown
from l7proxy.replay.changes import Kind, Report, replay
from l7proxy.replay.recorded import Cause
from tests.observe.records import FRONTEND, USERS
from tests.policy.support import http, policies, policy, request
from tests.replay.flows import hubble, line, ours

READ = policy(http("{name: read, method: GET, path: '/users([?/].*)?'}"), name="api")
DRY = policy(
    "audit: true\n" + http("{name: read, method: GET, path: '/users([?/].*)?'}"), name="dry"
)
KEYED = policy(http("{path: '/users.*', headers: [X-Key]}"), name="api")


def replayed(text: str, *flows: Any, workloads: Any = None) -> Report:
    return replay([line(each) for each in flows], policies(text), workloads)


def only(report: Report) -> tuple[str, str, str, str | None, str | None]:
    ((change, _),) = report.changes
    return change.was, change.would_be, change.reason, change.policy, change.rule


@pytest.mark.parametrize(
    ("text", "was", "method", "would_be"),
    [
        (READ, "FORWARDED", "GET", None),
        (READ, "AUDIT", "GET", "FORWARDED"),
        (READ, "ERROR", "GET", None),
        (READ, "DROPPED", "GET", "FORWARDED"),
        (READ, "FORWARDED", "PUT", "DROPPED"),
        (READ, "AUDIT", "PUT", "DROPPED"),
        (READ, "ERROR", "PUT", "DROPPED"),
        (READ, "DROPPED", "PUT", None),
        (DRY, "FORWARDED", "PUT", "AUDIT"),
        (DRY, "AUDIT", "PUT", None),
        (DRY, "ERROR", "PUT", None),
        (DRY, "DROPPED", "PUT", "AUDIT"),
    ],
)
def test_a_verdict_changes_or_not(text: str, was: str, method: str, would_be: str | None) -> None:
    report = replayed(text, hubble(verdict=was, method=method))
    assert report.replayed == 1
    assert [change.would_be for change, _ in report.changes] == ([would_be] if would_be else [])


def test_a_change_names_the_rule_the_policy_and_the_reason() -> None:
    report = replayed(READ, ours(verdict="DROPPED", reason=Reason.NO_RULE_MATCHED))
    assert only(report) == ("DROPPED", "FORWARDED", "rule-allowed", "api", "read")
    dry = replayed(DRY, ours(method=b"PUT"))
    assert only(dry) == ("FORWARDED", "AUDIT", "no-rule-matched", None, None)
    refused = replayed(READ, hubble(source={"labels": ["reserved:host"]}))
    assert only(refused) == ("FORWARDED", "DROPPED", "l4-default-deny", "api", None)


def test_the_same_changes_are_counted_and_the_worst_is_first() -> None:
    flows = [
        *[hubble(verdict="DROPPED", url="http://users/users/7")] * 3,
        *[hubble(method="PUT")] * 2,
        hubble(method="POST"),
    ]
    report = replayed(READ, *flows)
    assert [(each.would_be, each.method, each.path, n) for each, n in report.changes] == [
        ("DROPPED", "PUT", "/users", 2),
        ("DROPPED", "POST", "/users", 1),
        ("FORWARDED", "GET", "/users/7", 3),
    ]
    assert (report.replayed, report.changed) == (6, 6)
    assert report.by_kind == {Kind.REFUSED: 3, Kind.OPENED: 3}


def test_a_forward_without_a_backend_is_told_where_workloads_are_known() -> None:
    text = policy(
        http("{action: forward, forward: {endpoints: {matchLabels: {app: gone}}, port: 80}}")
    )
    assert replayed(text, hubble()).changes == ()
    report = replayed(text, hubble(), workloads=[FRONTEND, USERS])
    assert only(report)[:3] == ("FORWARDED", "ERROR", "no-backend")


def test_paths_are_normalised_as_they_would_be() -> None:
    assert replayed(READ, hubble(url="http://users/x/../users")).changes == ()
    report = replayed(READ, hubble(url="http://users/users/a%2Fb"))
    assert only(report)[1:3] == ("DROPPED", "escaped-slash")


def test_every_line_is_replayed_or_counted_with_its_cause_and_place() -> None:
    lines = [
        line(hubble()),
        b"not json\n",
        b"[]\n",
        b"\n",
        line(hubble(is_reply=True)),
        line(hubble(l7=None)),
        b"[" * 100_000,
        line(hubble(l7=None)),
    ]
    report = replay(lines, policies(READ), None)
    assert report.replayed == 1
    assert [(each.cause, each.count, each.first) for each in report.untold] == [
        (Cause.NOT_JSON, 3, 2),
        (Cause.NO_HTTP, 2, 6),
        (Cause.ANSWER, 1, 5),
    ]


def test_groups_are_bounded_and_nothing_goes_uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_GROUPS_MAX", 2)
    flows = [hubble(method="PUT", url=f"http://users/{at}") for at in range(9)]
    flows += [hubble(method=f"M{at}") for at in range(9)]
    report = replayed(READ, *flows)
    assert report.changed == 18
    assert len(report.changes) <= 5


# Headers that the record does not have.


def test_a_header_that_is_not_recorded_leaves_it_open() -> None:
    report = replayed(KEYED, hubble())
    (untold,) = report.untold
    assert (report.replayed, untold.cause, untold.detail) == (0, Cause.HEADERS, "x-key")


def test_a_header_that_is_recorded_decides() -> None:
    assert replayed(KEYED, hubble(headers={"X-Key": "v"})).changes == ()


def test_a_header_that_makes_no_difference_leaves_nothing_open() -> None:
    assert only(replayed(KEYED, hubble(url="http://users/other")))[1] == "DROPPED"
    both = policy(http("{path: '/users.*', headers: [X-Key]}", "{path: /users}"))
    assert replayed(both, hubble()).replayed == 1
    block = policy(http("{}", "{path: /users, headers: [X-Key], action: block}"))
    assert [each.cause for each in replayed(block, hubble()).untold] == [Cause.HEADERS]
    dry = policy("audit: true\n" + http("{path: '/users.*', headers: [X-Key]}"))
    assert [each.cause for each in replayed(dry, hubble()).untold] == [Cause.HEADERS]


RULES = (
    "{path: /a}",
    "{path: /a, headers: [X]}",
    '{headers: ["X: 1", Y]}',
    "{path: /a, headers: [Y], action: block}",
    '{headers: ["X: 2"], action: block}',
)


def test_the_bounds_hold_for_all_values_of_the_unknown_headers() -> None:
    hidden = frozenset({b"x", b"y"})
    values: list[dict[str, str]] = [
        {name: value for name, value in (("x", x), ("y", y)) if value}
        for x in ("", "1", "2")
        for y in ("", "1")
    ]
    for rules in itertools.combinations(RULES, 2):
        for audit in ("", "audit: true\n"):
            admitted = admit(policies(policy(audit + http(*rules))), (), FRONTEND, USERS, 80)
            low, high = (
                outcome(Decider(bound(admitted, hidden), ()), {})
                for bound in (unknown.strictest, unknown.loosest)
            )
            found = {outcome(Decider(admitted, ()), sent) for sent in values}
            assert low <= min(found)
            assert max(found) <= high


def outcome(decider: Decider, headers: dict[str, str]) -> int:
    """0 refused, 1 served and recorded as AUDIT, 2 served."""
    found = decider.decide(request("GET /a", **headers))
    if found.action is Action.BLOCK:
        return 0
    return 2 if found.audit is None else 1
