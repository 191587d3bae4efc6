"""``l7proxy check --against``: what breaks if this policy is merged."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import POLICY, WORKLOADS, Done
from tests.replay.flows import hubble, line

L7proxy = Callable[..., Done]
GET, PUT = hubble(), hubble(method="PUT")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with policies/users.yaml in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policies").mkdir()
    text = POLICY.replace('"/users/root"', '"/users/root([?].*)?"')
    (tmp_path / "policies" / "users.yaml").write_text(text)
    return tmp_path


def write(folder: Path, *flows: object) -> str:
    (folder / "flows.json").write_bytes(b"".join(map(line, flows)))
    return "flows.json"


def test_changes_are_a_table_and_an_exit_code(l7proxy: L7proxy, folder: Path) -> None:
    flows = write(folder, GET, PUT, PUT, hubble(is_reply=True))
    done = l7proxy("check", "--against", flows, "policies")
    assert (done.code, done.err) == (3, "")
    heading, row, left_out, closing = done.out.splitlines()
    assert heading.split("  ")[0] == "COUNT"
    assert row.split() == [
        "2", "FORWARDED", "DROPPED", "default/frontend-6d4b75cb6d-x2x4z",
        "default/users-6d4b75cb6d-x2x4z", "80", "PUT", "/users", "no-rule-matched",
    ]  # fmt: skip
    assert left_out.startswith("not replayed: 1 answers")
    assert closing == "3 requests replayed: 2 would be refused"


def test_nothing_changes(l7proxy: L7proxy, folder: Path) -> None:
    done = l7proxy("check", "--against", write(folder, GET), "policies")
    assert done == Done(0, "1 requests replayed: no verdict would change\n", "")


def test_the_same_as_json(l7proxy: L7proxy, folder: Path) -> None:
    flows = write(folder, GET, PUT, hubble(url="http://u/keyed"))
    done = l7proxy("check", "--against", flows, "-o", "json")
    assert done.code == 3
    assert list(done.json) == ["valid", "errors", "warnings", "destinations", "against"]
    assert done.json["against"] == {
        "replayed": 2,
        "changed": 1,
        "changes": [
            {
                "count": 1,
                "was": "FORWARDED",
                "would_be": "DROPPED",
                "client": "default/frontend-6d4b75cb6d-x2x4z",
                "server": "default/users-6d4b75cb6d-x2x4z",
                "port": 80,
                "method": "PUT",
                "path": "/users",
                "reason": "no-rule-matched",
                "policy": None,
                "rule": None,
            }
        ],
        "not_replayed": [
            {
                "count": 1,
                "cause": "requests that rules decide by a header which is not in the record",
                "detail": "x-key",
                "first_line": 3,
            }
        ],
    }


def test_workloads_give_the_labels(l7proxy: L7proxy, folder: Path) -> None:
    pod = {"namespace": "default", "pod_name": "frontend", "labels": ["k8s:app=other"]}
    server = {"namespace": "default", "pod_name": "users", "labels": []}
    flows = write(folder, hubble(source=pod, destination=server))
    (folder / "w.yaml").write_text(WORKLOADS)
    done = l7proxy("check", "--against", flows, "policies", "--workloads", "w.yaml")
    assert done.code == 0, done
    (folder / "w.yaml").write_text(WORKLOADS.replace("{app: frontend}", "{app: batch}"))
    done = l7proxy("check", "--against", flows, "policies", "--workloads", "w.yaml")
    assert done.code == 3


def test_many_paths_become_one_row(l7proxy: L7proxy, folder: Path) -> None:
    flows = write(folder, *(hubble(method="PUT", url=f"http://u/users/{at}") for at in range(9)))
    done = l7proxy("check", "--against", flows, "policies")
    (_, row, _) = done.out.splitlines()
    assert row.startswith("9 ")
    assert "/users/0 and 8 others" in row


def test_more_rows_than_fit_are_counted(l7proxy: L7proxy, folder: Path) -> None:
    flows = write(folder, *(hubble(method=f"M{at}") for at in range(60)))
    done = l7proxy("check", "--against", flows, "policies")
    assert "and 10 requests in 10 more rows: -o json has them all" in done.out.splitlines()


def test_standard_input(l7proxy: L7proxy, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line(PUT))))
    assert l7proxy("check", "--against", "-", "policies").code == 3


def test_a_file_that_says_nothing_is_a_failure(l7proxy: L7proxy, folder: Path) -> None:
    (folder / "flows.json").write_text("hello\n")
    done = l7proxy("check", "--against", "flows.json", "policies")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "flows.json: no request in it could be replayed: "
        "1 lines that are no JSON object, the first in line 1\n"
    )
    shown = l7proxy("check", "--against", "flows.json", "policies", "-o", "json")
    assert (shown.code, shown.json["valid"]) == (1, False)


def test_files_that_cannot_be_read(l7proxy: L7proxy, folder: Path) -> None:
    done = l7proxy("check", "--against", "gone.json", "policies")
    assert done == Done(1, "", "l7proxy: gone.json: No such file or directory\n")
    (folder / "policies" / "bad.yaml").write_text("kind: Pod\n")
    done = l7proxy("check", "--against", write(folder, PUT), "policies")
    assert (done.code, done.out) == (1, "")


def test_what_clients_make_up_is_harmless_on_a_terminal(l7proxy: L7proxy, folder: Path) -> None:
    flows = write(folder, hubble(method="P\x1b[31m", url="http://u/\u202e<script>"))
    done = l7proxy("check", "--against", flows, "policies")
    assert done.code == 3
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out


def test_a_line_without_end_is_read_in_pieces(l7proxy: L7proxy, folder: Path) -> None:
    (folder / "flows.json").write_bytes(b"x" * (3 << 20) + b"\n" + json.dumps(PUT).encode())
    done = l7proxy("check", "--against", "flows.json", "policies")
    assert done.code == 3
    assert "lines that are no JSON object" in done.out
