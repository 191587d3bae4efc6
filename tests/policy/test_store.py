"""The live set: whole or not at all, the last good one kept.

Seen to fail when ``replace`` stores what it loads before the errors are known.
"""

from __future__ import annotations

import shutil

import pytest

from l7proxy.limits import Limits
from l7proxy.policy.store import LiveSet
from tests.policy.support import http, policy


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "policies"
    path.mkdir()
    (path / "a.yaml").write_text(policy(http("{path: /a}")))
    return path


def test_before_the_first_good_set_there_is_none(tmp_path):
    live = LiveSet()
    assert (live.current, live.revision) == (None, 0)
    outcome = live.replace([tmp_path / "gone"])
    assert (outcome.applied, outcome.revision, live.current) == (False, 0, None)


def test_each_change_of_meaning_is_a_revision(folder):
    live = LiveSet()
    assert live.replace([folder]).revision == 1
    again = live.replace([folder])
    assert (again.applied, again.changed, again.revision) == (True, False, 1)
    (folder / "a.yaml").write_text("# a comment\n" + policy(http("{path: /a}")))
    assert not live.replace([folder]).changed
    assert live.current.policies[0].source.line == 4
    (folder / "a.yaml").write_text(policy(http("{path: /b}")))
    assert live.replace([folder]).revision == 2


def spoil(folder, how: str) -> None:
    match how:
        case "broken YAML":
            (folder / "b.yaml").write_text("a: [")
        case "a wrong regex":
            (folder / "b.yaml").write_text(policy(http("{path: '('}"), name="b"))
        case "an unknown field":
            (folder / "b.yaml").write_text(policy("ingres: []", name="b"))
        case "an unreadable file":
            (folder / "b.yaml").symlink_to(folder / "nowhere")
        case "a file too large":
            (folder / "b.yaml").write_text("#" * 10_000)
        case "a directory that vanishes":
            shutil.rmtree(folder)
        case "a file in its place":
            shutil.rmtree(folder)
            folder.write_text("not a directory: [")


@pytest.mark.parametrize(
    "how",
    [
        "broken YAML",
        "a wrong regex",
        "an unknown field",
        "an unreadable file",
        "a file too large",
        "a directory that vanishes",
        "a file in its place",
    ],
)
def test_a_bad_set_changes_nothing(folder, how):
    live = LiveSet(Limits(policy_file_bytes=5000))
    live.replace([folder])
    good = live.current
    # A good change in the same attempt is not applied either.
    (folder / "a.yaml").write_text(policy(http("{path: /changed}")))
    spoil(folder, how)
    outcome = live.replace([folder])
    assert (outcome.applied, outcome.changed, outcome.revision) == (False, False, 1)
    assert live.current is good
    assert outcome.errors == live.errors
    assert "\n" not in live.last_error
    assert str(folder) in live.last_error


def test_the_error_goes_when_the_set_is_good_again(folder):
    live = LiveSet()
    live.replace([folder])
    spoil(folder, "broken YAML")
    live.replace([folder])
    (folder / "b.yaml").unlink()
    outcome = live.replace([folder])
    assert (outcome.applied, outcome.revision, live.last_error) == (True, 1, None)


def test_the_last_error_says_how_many_there_are(folder):
    live = LiveSet()
    (folder / "a.yaml").write_text(policy("ingress: 1\negress: 2"))
    live.replace([folder])
    assert live.last_error.endswith("a.yaml:6: spec.ingress: must be a list (and 1 more)")
