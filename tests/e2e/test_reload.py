"""Policies change under load: no request fails that both the old and the new policy allow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from l7proxy.demo.client import Outcome
from l7proxy.demo.scenario import policy_text
from l7proxy.demo.stages import AUTH_PORT, USERS_PORT, Stage
from tests.support.load import Load
from tests.support.stage import flow_of, get, revision, set_policy

pytestmark = [pytest.mark.needs_ebpf, pytest.mark.needs_command("nginx")]

CHANGES = 6
FILE = "users-api.yaml"


def with_admin() -> str:
    """The demo's policy, with one more rule."""
    text = policy_text(USERS_PORT, AUTH_PORT)
    rule = '        - {name: admin, method: GET, path: "/admin"}\n'
    return text.replace("        - {name: no-root", rule + "        - {name: no-root")


def last_is(status: int) -> Callable[[list[Outcome]], bool]:
    """Whether the latest of some outcomes has this status."""
    return lambda outcomes: outcomes[-1:] != [] and outcomes[-1].status == status


def test_changes_under_load_drop_nothing_and_reach_open_connections(stage: Stage) -> None:
    """Seen to fail: with the agent killed and started at each change, requests got no answer."""
    frontend = stage.pods["frontend"]
    users = stage.endpoints["users"]
    with Load(frontend, *users, "/users") as both, Load(frontend, *users, "/admin") as changing:
        for change in range(CHANGES):
            opens = change % 2 == 0
            start = changing.count
            set_policy(stage, FILE, with_admin() if opens else policy_text(USERS_PORT, AUTH_PORT))
            wanted = 200 if opens else 403
            changing.wait_until(last_is(wanted), start)
            both.wait(50)
        assert {outcome.status for outcome in both.outcomes} == {200}
        assert {outcome.status for outcome in changing.outcomes} == {200, 403}
        assert both.connections == changing.connections == 1


def test_a_bad_policy_changes_nothing(stage: Stage) -> None:
    before = revision(stage)
    path = stage.policy.with_name("broken.yaml")
    path.write_text("apiVersion: l7proxy.io/v1alpha1\nkind: L7Policy\nspec: {nonsense: 1}\n")
    try:
        stage.agent.reload()
        with Load(stage.pods["frontend"], *stage.endpoints["users"], "/users") as load:
            load.wait_until(lambda new: bool(new) and "broken.yaml" in stage.agent.last_words(), 0)
        assert "broken.yaml:3: " in stage.agent.last_words()
        assert {outcome.status for outcome in load.outcomes} == {200}
        assert get(stage.pods["frontend"], stage, "/admin").status == 403
        assert revision(stage) == before
    finally:
        path.unlink()


def test_splice_becomes_proxy_for_new_connections(stage: Stage) -> None:
    """auth gets a policy: what was let through is decided from the next connection on."""
    frontend = stage.pods["frontend"]
    assert get(frontend, stage, "/report", "auth").status == 200
    text = policy_text(AUTH_PORT, AUTH_PORT).replace("users-api", "auth-api")
    set_policy(stage, "auth.yaml", text.replace("{app: users}", "{app: auth}"))
    assert get(frontend, stage, "/report", "auth").status == 403
    assert get(frontend, stage, "/users", "auth").status == 200
    assert get(stage.pods["intruder"], stage, "/report", "auth").error == "EPERM"
    set_policy(stage, "auth.yaml", None)
    assert get(frontend, stage, "/report", "auth").status == 200
    assert get(stage.pods["intruder"], stage, "/report", "auth").status == 200


def test_audited_policies_are_recorded_and_not_enforced(stage: Stage) -> None:
    enforced = policy_text(USERS_PORT, AUTH_PORT)
    set_policy(stage, FILE, enforced.replace("spec:\n", "spec:\n  audit: true\n"))
    frontend, intruder = stage.pods["frontend"], stage.pods["intruder"]
    seen = []
    for number, (client, path) in enumerate(
        ((frontend, "/users"), (frontend, "/users/root"), (intruder, "/users"))
    ):
        host, port = stage.endpoints["users"]
        request_id = f"audit-{number}"
        answer = client.http("GET", host, port, path, headers=[("X-Request-Id", request_id)])
        assert answer.status not in (None, 403)
        flow = flow_of(stage.agent, request_id)
        known = flow["extensions"]["value"]
        seen.append((flow["verdict"], known["road"], known["reason"], known["rule"]))
    assert seen == [
        ("FORWARDED", "proxy", "no-policy", None),
        ("AUDIT", "proxy", "rule-blocked", "no-root"),
        ("AUDIT", "proxy", "l4-default-deny", None),
    ]

    set_policy(stage, FILE, enforced)
    assert get(frontend, stage, "/users").status == 200
    assert get(frontend, stage, "/users/root").status == 403
    refused = get(intruder, stage, "/users")
    assert (refused.stage, refused.error) == ("connect", "EPERM")
