"""Documents in files and directories: which are read, and what is said where one cannot be."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from l7proxy.limits import Limits
from l7proxy.policy.documents import PolicyErrors, load_paths, load_text
from tests.policy.support import http, policies, policy


def test_every_error_of_every_file_is_told(tmp_path):
    (tmp_path / "a.yaml").write_text(policy("ingress: 1\negress: 2"))
    (tmp_path / "b.yml").write_text("apiVersion: [")
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(PolicyErrors) as caught:
        load_paths([tmp_path])
    places = [(Path(error.file).name, error.line) for error in caught.value.errors]
    assert places == [("a.yaml", 6), ("a.yaml", 7), ("b.yml", 1), ("c.json", 1)]
    assert all("\n" not in str(error) for error in caught.value.errors)


def test_a_directory_is_read_flat_and_without_hidden_files(tmp_path):
    (tmp_path / "a.yaml").write_text(policy("ingress: [{}]", name="a"))
    (tmp_path / ".hidden.yaml").write_text("not: [valid")
    (tmp_path / "notes.txt").write_text("not: [valid")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "b.yaml").write_text("not: [valid")
    (tmp_path / "folder.yaml").mkdir()
    assert [each.name for each in load_paths([tmp_path]).policies] == ["a"]


def test_a_file_named_twice_is_read_once(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(policy("ingress: [{}]"))
    assert len(load_paths([tmp_path, file]).policies) == 1


def test_a_missing_path_is_an_error(tmp_path):
    with pytest.raises(PolicyErrors, match="gone: no such file or directory"):
        load_paths([tmp_path / "gone"])


def test_an_unreadable_file_is_an_error(tmp_path):
    # A dangling link cannot be read by anyone, root included.
    (tmp_path / "a.yaml").symlink_to(tmp_path / "nowhere")
    with pytest.raises(PolicyErrors, match=r"a\.yaml: no such file or directory"):
        load_paths([tmp_path])


def test_a_file_that_is_too_large_is_an_error(tmp_path):
    (tmp_path / "a.yaml").write_text("#" * 101)
    with pytest.raises(PolicyErrors, match="is larger than 100 bytes"):
        load_paths([tmp_path], Limits(policy_file_bytes=100))


def test_the_digest_names_the_meaning_not_the_text():
    text = policy(http("{path: /a}"))
    same = policies("# a comment\n\n" + text)
    assert policies(text).digest == same.digest
    assert policies(text).digest != policies(text.replace("/a", "/b")).digest


def test_a_set_and_its_errors_survive_pickling():
    loaded = policies(policy(http("{path: /a}")))
    assert pickle.loads(pickle.dumps(loaded)) == loaded
    with pytest.raises(PolicyErrors) as caught:
        load_text("a: 1", "x.yaml")
    assert pickle.loads(pickle.dumps(caught.value)).errors == caught.value.errors
