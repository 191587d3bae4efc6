"""The files that come with l7proxy are found, in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from l7proxy import paths


def test_a_checkout_has_them_beside_the_package() -> None:
    assert list(paths.bpf_dir().glob("*.c"))
    assert (paths.example_policies() / "users-api.yaml").is_file()


def test_an_installed_package_has_them_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "l7proxy")
    assert paths.bpf_dir() == tmp_path / "bpf"
    (tmp_path / "l7proxy" / "bpf").mkdir(parents=True)
    assert paths.bpf_dir() == tmp_path / "l7proxy" / "bpf"
