from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from l7proxy.agent import inputs
from l7proxy.agent.inputs import Inputs
from l7proxy.agent.watch import fingerprint
from l7proxy.config import Config

LONG_AGO, JUST_NOW = -(10**18), 10**18


@pytest.fixture
def read(tmp_path: Path) -> tuple[Inputs, list[str]]:
    """Inputs of empty files, and what of them has been read."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yaml").write_text("")
    (tmp_path / "workloads.yaml").write_text("")
    config = Config(policies=tmp_path / "policies", workloads=tmp_path / "workloads.yaml")
    found = Inputs(config)
    names: list[str] = []
    for owner, name in ((found.policies, "policies"), (found.workloads, "workloads")):
        count(owner, name, names)
    return found, names


def count(owner: Any, name: str, names: list[str]) -> None:
    replace = owner.replace

    def counted(path: Any) -> None:
        names.append(name)
        replace(path)

    owner.replace = counted


def test_only_what_changed_is_read_again(
    read: tuple[Inputs, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, names = read
    monkeypatch.setattr(inputs, "_GRAIN_NS", LONG_AGO)

    async def scenario() -> None:
        await found.read()
        await found.read()
        assert names == ["policies", "workloads"]
        (tmp_path / "policies" / "b.yaml").write_text("")
        await found.read()
        assert names[2:] == ["policies"]
        await found.read(insist=True)
        assert names[3:] == ["policies", "workloads"]

    asyncio.run(scenario())


def test_what_was_just_written_is_read_again_in_any_case(
    read: tuple[Inputs, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, names = read
    monkeypatch.setattr(inputs, "_GRAIN_NS", JUST_NOW)

    async def scenario() -> None:
        await found.read()
        await found.read()
        assert names == ["policies", "workloads"] * 2

    asyncio.run(scenario())


def test_files_that_change_while_they_are_read_are_read_again(
    read: tuple[Inputs, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, names = read
    workload = "kind: Pod\napiVersion: v1\nmetadata: {name: late}\nstatus: {podIP: 10.0.0.1}\n"
    replace = found.workloads.replace

    def slow(path: Path) -> None:
        replace(path)
        if not (tmp_path / "written").exists():
            (tmp_path / "written").touch()
            (tmp_path / "workloads.yaml").write_text(workload)

    monkeypatch.setattr(found.workloads, "replace", slow)  # the very moment of the change
    asyncio.run(found.read())

    assert found.workloads.current is not None
    assert [each.name for each in found.workloads.current.workloads] == ["late"]
    assert names == ["policies", "workloads", "workloads"]


def test_a_fingerprint_changes_with_what_is_there(tmp_path: Path) -> None:
    looks = [fingerprint(tmp_path)]
    (tmp_path / "a.yaml").write_text("one")
    looks.append(fingerprint(tmp_path))
    (tmp_path / "a.yaml").write_text("other")
    looks.append(fingerprint(tmp_path))
    (tmp_path / "link.yaml").symlink_to("nowhere")
    looks.append(fingerprint(tmp_path))
    (tmp_path / "nowhere").write_text("now it is")
    looks.append(fingerprint(tmp_path))

    assert len(set(looks)) == len(looks)
    (tmp_path / "notes.txt").write_text("no document")
    assert fingerprint(tmp_path) == looks[-1]
    assert fingerprint(tmp_path / "none") == ()
