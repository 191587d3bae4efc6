"""On what a run was made: the machine, the revision, and the versions of all that took part."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from l7proxy import __version__
from loadtest import peers

UNKNOWN = "unknown"
_TIMEOUT = 20.0
_NUMBER = re.compile(r"(?<![\w.])v?(\d+\.\d+[\w.+~-]*)")
_PATH = re.compile(r"(?<!\S)/\S*")
_PROGRAMS = {
    "nginx": ("nginx", "-v"),
    "wrk": ("wrk", "-v"),
    "HAProxy": ("haproxy", "-v"),
    "Envoy": (str(peers.VENV / "bin" / "envoy"), "--version"),
    "mitmproxy": (str(peers.VENV / "bin" / "mitmdump"), "--version"),
}


def facts() -> dict[str, str | int]:
    """The machine as far as it bears upon a result; no name of it."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpus": os.cpu_count() or 0,
        "cpu": cpu_model(_read(Path("/proc/cpuinfo"))),
        "memory_mib": memory >> 20,
    }


def revision() -> str:
    """The commit of the checkout, marked if files differ from it."""
    argv = ["git", "-C", str(peers.ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    said = _run([*argv, "--exclude=*"])
    return said.stdout.strip() if said and not said.returncode else UNKNOWN


def versions() -> dict[str, str]:
    """By name; programs that are not there are left out."""
    found = {"l7proxy": __version__, "Python": platform.python_version()}
    for name, (program, option) in _PROGRAMS.items():
        path = shutil.which(program, path=peers.SEARCH)
        if path:
            # wrk tells its version with exit code 1, nginx on standard error.
            said = _run([path, option])
            found[name] = version_in(f"{said.stdout}{said.stderr}" if said else "")
    return found


def version_in(text: str) -> str:
    """The first thing that looks like a version in what a program says of itself."""
    # Envoy begins with its path, and has the version between slashes, after a hash.
    found = _NUMBER.search(_PATH.sub("", text).replace("/", " "))
    return found[1].rstrip(".-") if found else UNKNOWN


def cpu_model(text: str) -> str:
    """The model in the text of /proc/cpuinfo."""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else UNKNOWN


def _run(argv: list[str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
