"""``l7proxy observe``, on files and on an agent's answers."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l7proxy.observe.accesslog import LineEncoder
from l7proxy.observe.flows import lost_line
from l7proxy.reasons import Reason
from tests.cli.commands import POLICY, WORKLOADS, Done, FakeAgent
from tests.observe.records import denied, record
from tests.observe.test_text import HOSTILE

L7proxy = Callable[..., Done]
PUBLISHED = Path(__file__).parent.parent / "observe" / "hubble" / "flows.jsonl"


def encoded(*records: Any) -> bytes:
    encoder = LineEncoder("worker-1")
    return b"".join(map(encoder.encode, records))


def paths(*names: str, **changes: Any) -> bytes:
    """Requests for these paths, a second apart."""
    records = [
        record(path=name.encode(), time=1790000000.0 + at, **changes)
        for at, name in enumerate(names)
    ]
    return encoded(*records)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "flows.jsonl"
    written.write_bytes(paths("/1", "/2", "/3", "/4"))
    return written


def seen(done: Done) -> list[str]:
    """The last letter of each URL in JSON output."""
    assert done.code == 0, done.err
    flows = [json.loads(line)["flow"] for line in done.out.splitlines()]
    return [flow["l7"]["http"]["url"][-1] for flow in flows]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ([], "1234"),
        (["--last", "2"], "34"),
        (["--last", "0"], ""),
        (["--first", "3"], "123"),
        (["--all"], "1234"),
        (["--http-path", "/[13]"], "13"),
        (["--not", "--http-path", "/[13]"], "24"),
        (["--not", "--http-path=/1", "--not", "--http-path", "/2"], "34"),
        (["--http-path", "/[124]", "--last", "2"], "24"),
        (["--http-path", "/[24]", "--first", "1"], "2"),
        (["--since", "2026-09-21T14:13:22Z"], "34"),
        (["--until", "2026-09-21T14:13:21Z"], "12"),
        (["--since", "2026-09-21T14:13:21Z", "--until", "2026-09-21T14:13:22Z"], "23"),
        (["--since", "5m"], ""),
        (["-n", "default"], "1234"),
        (["--not", "-n", "default"], ""),
        (["--not", "-ndefault"], ""),
        (["--not", "-l", "app=nobody"], "1234"),
        (["--denied"], ""),
    ],
)
def test_what_is_asked_for_is_shown(
    l7proxy: L7proxy, file: Path, given: list[str], shown: str
) -> None:
    assert seen(l7proxy("observe", "--input-file", file, "-o", "json", *given)) == list(shown)


def test_flows_that_hubble_publishes_are_read(l7proxy: L7proxy) -> None:
    done = l7proxy("observe", "--input-file", PUBLISHED, "--from-pod", "default/xwing")
    assert done.out == (
        "Aug 21 12:12:18.510: default/xwing:44916 <> default/deathstar-7848d6c4d5-th9v2:80 "
        "Policy denied DROPPED ()\n"
    )
    every = l7proxy("observe", "--input-file", PUBLISHED, "-o", "jsonpb").out.splitlines()
    published = PUBLISHED.read_text().splitlines()
    assert list(map(json.loads, every)) == list(map(json.loads, published))


def test_standard_input_is_read_and_its_bad_lines_are_told(
    l7proxy: L7proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = b"\n".join([paths("/1").strip(), b"", b"{", b"[" * 2_000_000, paths("/2").strip()])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    done = l7proxy("observe", "--input-file", "-", "-o", "json")

    assert seen(done) == ["1", "2"]
    assert done.err.splitlines() == [
        "l7proxy: standard input:3: not JSON: Expecting property name enclosed in double quotes:"
        " line 2 column 1 (char 2)",
        "l7proxy: standard input:4: longer than 1048576 bytes",
    ]


def test_outputs(l7proxy: L7proxy, file: Path) -> None:
    given = ["observe", "--input-file", file, "--last", "2", "--time-format", "RFC3339"]
    line = (
        "2026-09-21T14:13:22Z: default/frontend:40000 -> default/users:80 http-response FORWARDED"
        " (HTTP/1.1 200 2ms (GET http://users/3))"
    )
    assert l7proxy(*given).out.splitlines()[0] == line
    named = l7proxy(*given, "--print-policy-names", "--print-node-name").out.splitlines()[0]
    assert named.startswith("2026-09-21T14:13:22Z [worker-1]: ")
    assert " FORWARDED BY default/users-api list (" in named
    table = l7proxy(*given, "-o", "table").out.splitlines()
    assert table[0].split() == [
        "TIMESTAMP", "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY",
    ]  # fmt: skip
    assert len(table) == 3
    blocks = l7proxy(*given, "-o", "dict").out.splitlines()
    assert blocks.count("------------") == 1
    assert "    VERDICT: FORWARDED" in blocks


def test_colour_is_for_terminals_or_on_demand(
    l7proxy: L7proxy, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["observe", "--input-file", file, "--last", "1"]
    green = "\x1b[32mFORWARDED\x1b[0m"
    assert green not in l7proxy(*given).out
    assert green in l7proxy(*given, "--color", "always").out
    monkeypatch.setattr("l7proxy.cli.observe._is_terminal", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert green in l7proxy(*given).out
    assert green not in l7proxy(*given, "--color", "never").out
    assert green not in l7proxy(*given, "-o", "table").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert green not in l7proxy(*given).out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--first", "1", "--last", "1"], "--first cannot be combined with --last"),
        (["--first", "1", "-f"], "--first cannot be combined with --follow"),
        (["-f", "--input-file", "x"], "--follow cannot be combined with --input-file"),
        (["-f", "-o", "table"], "-o table cannot be combined"),
        (["--policies", "x"], "--policies needs --explain"),
        (["--workloads", "x"], "--workloads needs --policies"),
        (["--since", "noon"], "--since: 'noon' is neither"),
        (["--http-status", "x"], "--http-status: 'x' is not a status"),
        (["--not"], "--not must stand before a filter"),
        (["--not", "--follow"], "--not must stand before a filter"),
        (["--not", "--not", "--port", "1"], "--not must stand before a filter"),
        (["--not", "--port"], "'--port' requires an argument"),
        (["--pod", "a", "--ip", "::1"], "cannot be combined"),
    ],
)
def test_wrong_usage_is_told(l7proxy: L7proxy, given: list[str], message: str) -> None:
    done = l7proxy("observe", *given)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_file_that_is_not_there_is_named(l7proxy: L7proxy, tmp_path: Path) -> None:
    done = l7proxy("observe", "--input-file", tmp_path / "gone")
    assert (done.code, done.err) == (
        1,
        f"l7proxy: {tmp_path / 'gone'}: No such file or directory\n",
    )


def test_the_agent_is_asked_for_all_and_twenty_are_shown(
    l7proxy: L7proxy, agent: FakeAgent
) -> None:
    agent.answers["/flows"] = (200, paths(*(f"/{number % 10}" for number in range(25))))
    shown = seen(l7proxy("observe", "-c", agent.config, "-o", "json"))
    assert shown == [str(number % 10) for number in range(5, 25)]
    assert len(seen(l7proxy("observe", "-c", agent.config, "-o", "json", "--all"))) == 25


def test_lost_records_are_shown_whatever_the_filters(l7proxy: L7proxy, agent: FakeAgent) -> None:
    lost = lost_line("worker-1", 9, 1790000001.0)
    agent.answers["/flows"] = (200, paths("/1", "/2") + lost + paths("/3"))
    done = l7proxy("observe", "-c", agent.config, "--http-path", "/[12]", "--last", "2")
    assert done.out.splitlines()[2] == "EVENTS LOST: OBSERVER_EVENTS_QUEUE CPU(0) 9"
    assert len(l7proxy("observe", "-c", agent.config, "--last", "1").out.splitlines()) == 1


def test_a_follower_sees_the_past_filtered_and_is_told_when_the_agent_ends(
    l7proxy: L7proxy, agent: FakeAgent
) -> None:
    agent.headers["L7proxy-Kept"] = "3"
    agent.answers["/flows?follow=1"] = (200, paths("/1", "/2", "/3", "/4", "/5"))
    given = ["observe", "-c", agent.config, "-f", "-o", "json", "--not", "--http-path", "/3"]
    done = l7proxy(*given, "--last", "1")
    assert (done.code, done.err) == (1, "l7proxy: the agent has ended\n")
    assert seen(Done(0, done.out, "")) == ["2", "4", "5"]

    agent.headers["L7proxy-Kept"] = "0"
    agent.answers["/flows?follow=1&last=0"] = (200, paths("/6"))
    assert seen(Done(0, l7proxy(*given).out, "")) == ["6"]


def test_what_the_agent_refuses_is_told(l7proxy: L7proxy, agent: FakeAgent) -> None:
    agent.answers["/flows"] = (503, {"error": "16 followers are served already"})
    done = l7proxy("observe", "-c", agent.config)
    assert done == Done(1, "", "l7proxy: the agent says: 16 followers are served already\n")


REFUSED = [
    denied(path=b"/users/9", method=b"PUT", policy=None),
    denied(path=b"/users/root", reason=Reason.RULE_BLOCKED),
    denied(path=b"/users", policy=None),
    denied(path=b"/x", reason=Reason.BAD_HOST, policy=None),
]


def test_refusals_are_explained_by_policies_in_files(l7proxy: L7proxy, tmp_path: Path) -> None:
    (tmp_path / "flows").write_bytes(encoded(record(), *REFUSED))
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "w.yaml").write_text(WORKLOADS)
    given = ["observe", "--input-file", tmp_path / "flows", "--explain"]
    for workloads in ([], ["--workloads", tmp_path / "w.yaml"]):
        done = l7proxy(*given, "--policies", tmp_path / "p.yaml", *workloads)
        assert done.code == 0, done.err
        assert [line.strip() for line in done.out.splitlines() if line.startswith("  ")] == [
            "reason   no-rule-matched: HTTP rules apply and none of them matches",
            f"nearest  users-api read ({tmp_path}/p.yaml:12): method is PUT, the rule wants GET",
            "reason   rule-blocked: a block rule matches",
            "policy   users-api",
            "rule     no-root",
            "reason   no-rule-matched: HTTP rules apply and none of them matches",
            "note     would be served now, by users-api read: policies have changed",
            "reason   bad-host: Host is missing, repeated, not an authority, or not the target's",
        ]
    as_json = l7proxy(*given, "--policies", tmp_path / "p.yaml", "-o", "json", "--denied")
    told = json.loads(as_json.out.splitlines()[1])["flow"]["extensions"]["value"]["explanation"]
    assert told["rule"] == "no-root"


def test_refusals_are_explained_by_the_agent_which_is_asked_once(
    l7proxy: L7proxy, agent: FakeAgent
) -> None:
    agent.answers["/flows"] = (200, encoded(REFUSED[0], REFUSED[0], REFUSED[3]))
    answer = {"policy": None, "rule": None}
    told = {"answer": answer, "exit_code": 22, "nearest": "users-api read: \x1b[31mmethod"}
    agent.answers["/explain"] = (200, told)
    done = l7proxy("observe", "-c", agent.config, "--denied", "--explain")
    assert done.out.count("  nearest  users-api read: \\x1b[31mmethod\n") == 2
    [question] = [asked for _, path, asked in agent.asked if path == "/explain"]
    assert question == {
        "from": "default/frontend",
        "to": "default/users",
        "port": 80,
        "method": "PUT",
        "target": "/users/9",
        "headers": [["Host", "users"], ["X-Request-Id", "4c1b"]],
    }


def test_a_request_that_cannot_be_explained_is_shown_all_the_same(
    l7proxy: L7proxy, agent: FakeAgent
) -> None:
    agent.answers["/flows"] = (200, encoded(REFUSED[0]))
    agent.answers["/explain"] = (400, {"error": "no workload 'default/frontend'"})
    done = l7proxy("observe", "-c", agent.config, "--explain")
    assert done.code == 0
    assert done.out.endswith("cannot be explained: no workload 'default/frontend'\n")
    asked = [each["from"] for _, path, each in agent.asked if path == "/explain"]
    labels = "app=frontend,env=prod,io.kubernetes.pod.namespace=default"
    assert asked == ["default/frontend", labels]


@pytest.mark.parametrize("output", ["compact", "dict", "table", "json"])
def test_a_hostile_file_writes_nothing_that_a_terminal_obeys(
    l7proxy: L7proxy, tmp_path: Path, output: str
) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    flow = json.loads(encoded(REFUSED[0]))["flow"]
    lines = []
    for text in HOSTILE:
        http = {"method": text, "url": f"http://{text}/{text}?{text}", "headers": [{"key": text}]}
        end = {"pod_name": text, "namespace": text, "labels": [f"k8s:{text}={text}"]}
        changed = {"l7": {"type": text, "http": http}, "source": end, "destination": end}
        lines.append(json.dumps({"flow": flow | changed | {"Summary": text, "node_name": text}}))
        lines.append(text.encode("utf-8", "surrogatepass").decode("latin-1"))
    (tmp_path / "\x1b[31mflows").write_bytes("\n".join(lines).encode("latin-1"))
    given = ["--print-node-name", "--print-policy-names", "-o", output]
    if output != "table":
        given += ["--explain", "--policies", tmp_path / "p.yaml"]
    done = l7proxy("observe", "--input-file", tmp_path / "\x1b[31mflows", *given)

    assert done.code == 0
    assert done.out.count("red") >= 1
    for line in (done.out + done.err).split("\n"):
        assert line.isprintable()
