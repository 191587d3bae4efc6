"""The rules between folders that ARCHITECTURE.md states."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from l7proxy.paths import bpf_dir

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "l7proxy"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Folders that decide and describe, and do nothing: no event loop, no sockets, no kernel.
PURE = ("policy", "http", "workloads", "compiler", "replay")
EFFECTS = {"asyncio", "uvloop", "socket", "selectors", "subprocess", "threading", "bcc", "pyroute2"}

# Who may import what of the package itself. A folder may always import its own modules and the
# modules at the top (reasons, limits, config, paths).
ALLOWED = {
    "http": set(),
    "workloads": set(),
    "policy": {"workloads"},
    "compiler": {"http", "policy", "workloads"},
    "replay": {"http", "policy", "workloads", "observe"},
    "observe": {"policy", "proxy", "workloads"},
    "proxy": {"http", "policy", "workloads", "observe"},
    "datapath": {"http", "policy", "workloads", "proxy", "compiler", "observe"},
    "ui": {"http"},
}
# Modules that are shared words: they describe and do nothing, and everyone may import them.
WORDS = {"datapath.port", "proxy.ports"}
# What the modules at the top may import.
TOP = {
    "__init__": set(),
    "__main__": {"cli"},
    "config": set(),
    "explain": {"http", "policy", "workloads", "compiler"},
    "file_errors": set(),
    "limits": set(),
    "paths": set(),
    "printable": set(),
    "reasons": set(),
    "serving": set(),
    "yaml_lines": set(),
}
MAX_LINES = 400
SOURCES = sorted(
    path
    for folder in ("l7proxy", "bpf", "tests", "loadtest", "scripts")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".c", ".h", ".sh", ".mjs", ".css"} and path.parent.name != "vendor"
)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file; imports for types alone are out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {imported(node.module or "", alias.name) for alias in node.names}
    return found


def imported(module: str, name: str) -> str:
    """The module that ``from module import name`` imports: ``name`` may be a module inside."""
    inside = ROOT.joinpath(*module.split("."), f"{name}.py")
    return f"{module}.{name}" if inside.exists() else module


def folders_imported(path: Path) -> set[str]:
    """The folders of the package that a file imports from, shared words apart."""
    parts = [
        module.split(".")
        for module in imports(path)
        if module.startswith("l7proxy.") and module.removeprefix("l7proxy.") not in WORDS
    ]
    return {part[1] for part in parts if (PACKAGE / part[1]).is_dir()}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_one_module_knows_bcc(path: Path) -> None:
    uses = {module for module in imports(path) if module.split(".")[0] == "bcc"}
    assert not uses or name_of(path) == "datapath/compile.py"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if name_of(path).split("/")[0] in PURE], ids=name_of
)
def test_pure_folders_have_no_effects(path: Path) -> None:
    used = {module.split(".")[0] for module in imports(path)} & EFFECTS
    assert not used


@pytest.mark.parametrize(
    "path", [path for path in MODULES if name_of(path).split("/")[0] in ALLOWED], ids=name_of
)
def test_folders_import_only_what_they_may(path: Path) -> None:
    folder = name_of(path).split("/")[0]
    assert folders_imported(path) <= ALLOWED[folder] | {folder}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=name_of)
def test_top_modules_are_shared_words(path: Path) -> None:
    assert folders_imported(path) <= TOP[path.stem]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_file_is_too_long_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize(
    "path",
    sorted(path for path in bpf_dir().rglob("*") if path.suffix in {".c", ".h"}),
    ids=lambda path: path.name,
)
def test_ebpf_sources_carry_both_licences(path: Path) -> None:
    head = path.read_text().splitlines()[:3]
    assert any("SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)" in line for line in head)
