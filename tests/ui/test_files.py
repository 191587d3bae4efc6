"""The page's files: all that the page asks for is there, and nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path, PurePosixPath

import pytest

from l7proxy.ui import files

ROOT = Path(__file__).resolve().parent.parent.parent
SERVED = files.load()
OURS = {path: file for path, file in SERVED.items() if not path.startswith("/vendor/")}


def text(path: str) -> str:
    return SERVED[path].content.decode()


def test_what_the_page_links_is_served() -> None:
    linked = re.findall(r'(?:href|src)="([^"]+)"', text("/"))
    assert len(linked) >= 3
    assert set(linked) <= set(SERVED)


@pytest.mark.parametrize("path", [path for path in OURS if path.endswith(".mjs")])
def test_what_a_module_imports_is_served(path: str) -> None:
    for target in re.findall(r'from "([^"]+)"', text(path)):
        assert target.startswith("."), target
        found: list[str] = []
        for part in PurePosixPath(path).parent.joinpath(target).parts:
            found = found[:-1] if part == ".." else [*found, part]
        assert "/" + "/".join(found[1:]) in SERVED


@pytest.mark.parametrize("path", sorted(OURS))
def test_nothing_is_loaded_from_elsewhere_or_becomes_markup(path: str) -> None:
    own = text(path).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://(?!\[)|@import|url\(", own.replace(r"https?:\/\/", ""))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc", own
    )
    assert "style=" not in own  # the content policy forbids it, and so it would not work


def test_the_vendored_library_is_the_one_that_it_says() -> None:
    done = subprocess.run(["scripts/vendor-ui.sh", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0
    readme = (files.STATIC / "vendor" / "README.md").read_text()
    script = (ROOT / "scripts" / "vendor-ui.sh").read_text()
    [version] = re.findall(r"^package=@dagrejs/dagre@([0-9.]+)$", script, re.MULTILINE)
    assert f" {version}, unchanged" in readme
    assert re.findall(r"^library=([0-9a-f]{64})$", script, re.MULTILINE)[0] in readme


def test_a_wheel_carries_them() -> None:
    """Hatchling takes what lies in a package's folder, but for what git ignores."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["l7proxy"]
    assert not {"include", "exclude", "only-include"} & set(wheel)
    names = [str(path.relative_to(ROOT)) for path in files.STATIC.rglob("*") if path.is_file()]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
