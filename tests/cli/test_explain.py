"""``l7proxy explain``: offline against a folder, and by asking the agent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import POLICY, WORKLOADS, Done, FakeAgent

L7proxy = Callable[..., Done]
FRONTEND, USERS, INTRUDER = "app=frontend", "app=users", "app=intruder"


@pytest.fixture
def ask(l7proxy: L7proxy, tmp_path: Path) -> L7proxy:
    """Explains offline: client, server, and what follows ``--port 80``."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "users.yaml").write_text(POLICY)
    (tmp_path / "workloads.yaml").write_text(WORKLOADS)
    (tmp_path / "l7proxy.yaml").write_text("node: here\n")

    def run(client: str, server: str, *rest: str) -> Done:
        return l7proxy(
            "explain",
            "-c",
            tmp_path / "l7proxy.yaml",
            "--policies",
            tmp_path / "policies",
            "--workloads",
            tmp_path / "workloads.yaml",
            *("--from", client, "--to", server),
            *(() if "--port" in rest else ("--port", "80")),
            *rest,
        )

    return run


@pytest.mark.parametrize(
    ("client", "request_", "code", "action", "reason", "rule", "road"),
    [
        (FRONTEND, ["GET", "/users"], 0, "allow", "rule-allowed", "read", "proxy"),
        (FRONTEND, ["GET", "/users/./7"], 0, "allow", "rule-allowed", "read", "proxy"),
        (FRONTEND, ["POST", "/login"], 0, "forward", "rule-forwarded", "login", "proxy"),
        (FRONTEND, ["GET", "/users/root"], 22, "block", "rule-blocked", "no-root", "proxy"),
        (FRONTEND, ["GET", "/admin"], 22, "block", "no-rule-matched", None, "proxy"),
        (FRONTEND, ["GET", "/keyed"], 22, "block", "no-rule-matched", None, "proxy"),
        (
            FRONTEND,
            ["GET", "/keyed", "-H", "x-key: v"],
            0,
            "allow",
            "rule-allowed",
            "keyed",
            "proxy",
        ),
        (FRONTEND, ["GET", "/users#a"], 22, "block", "bad-target", None, "proxy"),
        (FRONTEND, ["GET", "/a b"], 22, "block", "bad-request-line", None, "proxy"),
        (INTRUDER, ["GET", "/users"], 28, "block", "l4-default-deny", None, "splice"),
        ("world", ["GET", "/users"], 28, "block", "l4-default-deny", None, "splice"),
        ("host", ["GET", "/users"], 28, "block", "l4-default-deny", None, "splice"),
        (
            FRONTEND,
            ["GET", "/users", "--port", "81"],
            28,
            "block",
            "l4-default-deny",
            None,
            "splice",
        ),
    ],
)
def test_the_answer_and_the_exit_code(
    ask: L7proxy,
    client: str,
    request_: list[str],
    code: int,
    action: str,
    reason: str,
    rule: str | None,
    road: str,
) -> None:
    done = ask(client, USERS, *request_, "-o", "json")
    assert done.code == code
    answer = done.json
    assert list(answer) == [
        "verdict",
        "action",
        "backend",
        "policy",
        "rule",
        "reason",
        "road",
        "audit",
    ]
    assert answer["verdict"] == ("DROPPED" if code else "FORWARDED")
    assert (answer["action"], answer["reason"], answer["rule"]) == (action, reason, rule)
    assert answer["road"] == road


KERNEL = """
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: users-api}
spec:
  endpointSelector: {matchLabels: {app: users}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: frontend}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules:
        http:
        - {method: GET, path: "/users(/.*)?", name: read}
        - {method: GET, path: /keyed, headerMatches: [{name: x-key, value: v}], name: keyed}
        - {action: block, path: /users/root, name: no-root}
"""


@pytest.mark.parametrize(
    ("request_", "code", "reason", "rule", "said"),
    [
        (["GET", "/users"], 0, "rule-allowed", "read", "the kernel decides"),
        (["GET", "/users/7?a=1"], 0, "rule-allowed", "read", "the kernel decides"),
        (["GET", "/keyed", "-H", "X-Key: v"], 0, "rule-allowed", "keyed", "the kernel decides"),
        (["GET", "/users/root"], 22, "rule-blocked", "no-root", "the kernel decides"),
        (["GET", "/keyed"], 22, "no-rule-matched", None, "header x-key is absent"),
        (["GET", "/users/./7"], 22, "path-not-normal", None, "the path is not normal"),
        (["GET", "/users%2F7"], 22, "path-not-normal", None, "the kernel does not normalise"),
        (["GET", "http://server/users"], 22, "absolute-form", None, "in absolute form"),
        (
            ["GET", "/users", "-H", "X-Key: v", "-H", "X-Key: v"],
            22,
            "undecidable-header",
            None,
            "is repeated",
        ),
        (["GET", "/users", "-H", "Connection: x-key"], 22, "undecidable-header", None, "names a"),
        (["GET", "/users", "-H", "Host: [::1.2.3.4]"], 22, "bad-host", None, "inside"),
        (["GET", "/users#a"], 22, "bad-target", None, "note"),
        (["GET", "/a b"], 22, "bad-request-line", None, "note"),
    ],
)
def test_where_the_kernel_decides_its_own_tables_are_asked(
    ask: L7proxy,
    tmp_path: Path,
    request_: list[str],
    code: int,
    reason: str,
    rule: str | None,
    said: str,
) -> None:
    (tmp_path / "policies" / "users.yaml").write_text(KERNEL)
    done = ask(FRONTEND, USERS, *request_, "-o", "json")
    assert (done.code, done.json["reason"], done.json["rule"]) == (code, reason, rule)
    assert done.json["road"] == "kernel"
    assert said in ask(FRONTEND, USERS, *request_).out


def test_userspace_mode_has_no_kernel_road(ask: L7proxy, tmp_path: Path) -> None:
    (tmp_path / "policies" / "users.yaml").write_text(KERNEL)
    (tmp_path / "l7proxy.yaml").write_text("datapath: userspace\n")
    done = ask(FRONTEND, USERS, "GET", "/users/./7", "-o", "json")
    assert (done.json["road"], done.json["reason"]) == ("proxy", "rule-allowed")


def test_a_forwarded_request_names_its_backend(ask: L7proxy) -> None:
    done = ask(FRONTEND, USERS, "POST", "/login", "-o", "json")
    assert done.json["backend"] == "10.0.0.4:8080"
    assert done.json["policy"] == "users-api"


def test_a_destination_that_no_policy_selects_is_spliced(ask: L7proxy) -> None:
    done = ask(FRONTEND, "auth", "GET", "not even a request", "-o", "json")
    assert done.code == 0
    assert (done.json["reason"], done.json["road"]) == ("no-policy", "splice")


def test_text_tells_the_nearest_rule_and_why_it_did_not_match(ask: L7proxy) -> None:
    done = ask(FRONTEND, USERS, "DELETE", "/keyed")
    assert done.code == 22
    assert done.out.startswith("DROPPED (block)\n")
    assert "default/frontend to default/users port 80" in done.out
    nearest = next(line for line in done.out.splitlines() if line.startswith("  nearest"))
    assert "users-api keyed" in nearest
    assert "header x-key is absent, the rule wants v" in nearest


@pytest.mark.parametrize("client", ["frontend", "default/frontend", "10.0.0.2", "k8s:app=frontend"])
def test_a_client_can_be_named_in_several_ways(ask: L7proxy, client: str) -> None:
    assert ask(client, "10.0.0.3", "GET", "/users").code == 0


def test_labels_that_no_workload_has_stand_for_one_that_has_just_these(ask: L7proxy) -> None:
    assert ask("app=frontend,tier=web", USERS, "GET", "/users").code == 0
    other = "app=frontend,k8s:io.kubernetes.pod.namespace=elsewhere"
    assert ask(other, USERS, "GET", "/users").code == 28


def test_equal_labels_mean_two_workloads(ask: L7proxy) -> None:
    """A workload may reach itself; another one with its labels is no exception to the policy."""
    assert ask(USERS, USERS, "GET", "/users").code == 28
    assert ask("users", "users", "GET", "/users").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody", USERS, "GET", "/"], "no workload 'nobody'"),
        (["app=a,b", USERS, "GET", "/"], "'b' is not a label: write key=value"),
        (["reserved:host=a", USERS, "GET", "/"], "the label source 'reserved' is not supported"),
        ([FRONTEND, USERS, "GET", "/", "-H", "x"], "'x' is not a header: write -H 'Name: value'"),
        ([FRONTEND, USERS, "GET", "/", "-H", "x: a\r\nb: c"], "a line break in the method"),
        ([FRONTEND, USERS, "GET", "/", "--port", "0"], "0 is not in the range 1<=x<=65535"),
    ],
)
def test_a_question_that_cannot_be_asked_is_wrong_usage(
    ask: L7proxy, arguments: list[str], message: str
) -> None:
    done = ask(*arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_policies_with_mistakes_are_an_error(ask: L7proxy, tmp_path: Path) -> None:
    (tmp_path / "policies" / "bad.yaml").write_text("kind: Nothing\n")
    done = ask(FRONTEND, USERS, "GET", "/")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"l7proxy: {tmp_path / 'policies' / 'bad.yaml'}:1: ")


def test_workloads_without_policies_are_wrong_usage(l7proxy: L7proxy) -> None:
    done = l7proxy(
        "explain", "--from", "a", "--to", "b", "--port", "1", "--workloads", "w", "GET", "/"
    )
    assert done.code == 2


def test_the_agent_is_asked_where_no_policies_are_named(l7proxy: L7proxy, agent: FakeAgent) -> None:
    answer = {"verdict": "DROPPED", "action": "block", "backend": None, "policy": "p", "rule": "r"}
    answer |= {"reason": "rule-blocked", "road": "proxy"}
    more = {
        "from": "a",
        "to": "b",
        "meaning": "m",
        "road_reason": "w",
        "nearest": None,
        "notes": [],
    }
    agent.answers["/explain"] = (200, {"answer": answer, "exit_code": 22, **more})
    arguments = ["--from", "a=1", "--to", "b=2", "--port", "80", "-H", "X:  y ", "GET", "/z"]
    done = l7proxy("explain", "-c", agent.config, *arguments, "-o", "json")
    assert (done.code, done.json, done.err) == (22, answer, "")
    question = {"from": "a=1", "to": "b=2", "port": 80, "method": "GET", "target": "/z"}
    assert agent.asked == [("POST", "/explain", {**question, "headers": [["X", "y"]]})]


def audited(folder: Path) -> None:
    text = POLICY.replace("spec:\n", "spec:\n  audit: true\n")
    (folder / "policies" / "users.yaml").write_text(text)


def test_a_dry_run_is_told_beside_what_happens(ask: L7proxy, tmp_path: Path) -> None:
    asked = ask(FRONTEND, USERS, "GET", "/admin")
    assert "  audit " not in asked.out
    audited(tmp_path)
    done = ask(FRONTEND, USERS, "GET", "/users/root")
    assert (done.code, done.out.splitlines()[0]) == (0, "FORWARDED (allow)")
    assert (
        "  audit    if users-api were enforced: DROPPED (block) by users-api no-root, "
        "rule-blocked: a block rule matches; recorded as AUDIT"
    ) in done.out.splitlines()
    document = ask(INTRUDER, USERS, "GET", "/users", "-o", "json").json
    assert (document["verdict"], document["road"]) == ("FORWARDED", "proxy")
    assert (document["audit"]["verdict"], document["audit"]["recorded"]) == ("DROPPED", True)


def test_what_is_no_request_is_not_decided_by_audited_rules(ask: L7proxy, tmp_path: Path) -> None:
    audited(tmp_path)
    malformed = ("GET", "/users#a")
    done = ask(FRONTEND, USERS, *malformed, "-o", "json")
    assert (done.code, done.json["reason"], done.json["audit"]) == (22, "bad-target", None)
    beside = ask(FRONTEND, USERS, "--port", "22", *malformed, "-o", "json").json
    assert (beside["verdict"], beside["road"]) == ("FORWARDED", "splice")
    assert beside["audit"]["reason"] == "l4-default-deny"
    # An enforced policy that refuses the connection: the audited rules never see the bytes.
    closed = POLICY.split("  ingress:")[0].replace("users-api", "closed") + "  ingress: [{}]\n"
    (tmp_path / "policies" / "closed.yaml").write_text(closed)
    refused = ask(FRONTEND, USERS, *malformed, "-o", "json")
    assert (refused.code, refused.json["audit"]) == (28, None)
    whole = ask(FRONTEND, USERS, "GET", "/users", "-o", "json")
    assert (whole.code, whole.json["audit"]["verdict"]) == (28, "FORWARDED")
