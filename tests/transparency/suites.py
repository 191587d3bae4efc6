"""The suites: what is run of each, where it comes from, and what has to be installed for it."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

BUILD = Path(__file__).resolve().parents[2] / "build" / "transparency"
VENV = BUILD / "venv"
DRIVERS = Path(__file__).with_name("drivers")
TEST_PATIENCE = 60
"""Seconds that one test gets."""

Wanted = frozenset[str] | None
"""Ids of tests; None: all of the suite."""


@dataclass(frozen=True, slots=True)
class Sdist:
    """A project's own source distribution, unpacked for its tests; the package is its wheel.

    ``shadows`` is the folder that an import from the tests would find instead of the wheel.
    """

    name: str
    version: str
    requires: tuple[str, ...]
    shadows: str

    @property
    def folder(self) -> Path:
        return BUILD / f"{self.name}-{self.version}"


@dataclass(frozen=True, slots=True)
class Suite:
    """``tests`` are paths in the sdist, or modules of CPython's ``test`` package, or of the folder
    ``modules``.

    ``apart``: its HTTP servers are processes of ``multiprocessing``, so that they can be another
    workload than the clients. ``left_out`` are ids that fit no place, each with the reason;
    ``limits`` are patterns of ids that meet a limit, by its name in ``datapath/short_circuit.py``.
    """

    name: str
    tests: tuple[str, ...]
    sdist: Sdist | None = None
    apart: bool = False
    left_out: dict[str, str] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)
    modules: Path | None = None

    def command(
        self, folder: Path, output: Path, only: Wanted, without: Wanted
    ) -> tuple[list[str], Path, dict[str, str]]:
        """Command line, working directory and additions to the environment."""
        plan = folder / "plan.json"
        plan.write_text(json.dumps(self._plan(only, without)))
        if self.sdist is None:
            argv = [str(_interpreter()), str(DRIVERS / "run_unittest.py"), str(plan), str(output)]
            return argv, folder, {"PYTHONPATH": str(self.modules)} if self.modules else {}
        argv = [str(VENV / "bin" / "python"), "-m", "pytest", "-p", "record_pytest", "-q"]
        argv += ["-p", "no:cacheprovider", "-o", "addopts=", *self.tests]
        argv += ["-o", f"faulthandler_timeout={TEST_PATIENCE}"]
        argv += ["-o", "faulthandler_exit_on_timeout=true"]
        more = {"TRANSPARENCY_PLAN": str(plan), "TRANSPARENCY_OUTPUT": str(output)}
        return argv, self.sdist.folder, {"PYTHONPATH": str(DRIVERS), **more}

    def _plan(self, only: Wanted, without: Wanted) -> dict[str, Any]:
        return {
            "modules": [name if self.modules else f"test.{name}" for name in self.tests],
            "only": None if only is None else sorted(only),
            "without": sorted(self.left_out.keys() | (without or frozenset())),
            "patience": TEST_PATIENCE,
        }

    def limit_of(self, test: str) -> str | None:
        """The limit that a test is known to meet."""
        named = (name for pattern, name in self.limits.items() if fnmatch(test, pattern))
        return next(named, None)


def lacking() -> str | None:
    """Why CPython's suites cannot be run; None where they can."""
    if importlib.util.find_spec("test.test_socket"):
        return None
    return "CPython's tests are missing (libpython3.11-testsuite)"


def install(suites: list[Suite]) -> None:
    """The suites that come from PyPI, in a folder and a virtual environment of their own."""
    for sdist in {one.sdist.name: one.sdist for one in suites if one.sdist}.values():
        done = sdist.folder / "transparency-done"
        wanted = " ".join((*PYTEST, *sdist.requires))
        if done.exists() and done.read_text() == wanted:
            continue
        print(f"transparency: installing {sdist.name} {sdist.version}", file=sys.stderr)
        if not (VENV / "bin" / "python").exists():
            venv.create(VENV, with_pip=True)
        exact = f"{sdist.name}=={sdist.version}"
        _pip("install", exact, *PYTEST, *sdist.requires)
        # pip has no way to fetch an sdist without asking it for its metadata.
        _pip("download", "--no-deps", "--no-binary", sdist.name, "--dest", str(BUILD), exact)
        shutil.unpack_archive(BUILD / f"{sdist.name}-{sdist.version}.tar.gz", BUILD)
        shutil.rmtree(sdist.folder / sdist.shadows)
        done.write_text(wanted)


def _pip(command: str, *arguments: str) -> None:
    argv = [str(VENV / "bin" / "python"), "-m", "pip", command, "--quiet"]
    argv += ["--disable-pip-version-check", *arguments]
    subprocess.run(argv, check=True, stdout=sys.stderr)


def _interpreter() -> Path:
    """The distribution's, whose tests are installed, and not the virtual environment's."""
    return Path(sys.base_prefix) / "bin" / "python3"


PYTEST = ("pytest>=9", "pytest-mock", "pytest-timeout", "pytest-socket", "trustme")
AIOHTTP = Sdist(
    "aiohttp",
    "3.14.5",
    ("blockbuster", "coverage", "isal", "zlib_ng", "brotli", "pytest_codspeed", "python-on-whales",
     "freezegun", "re-assert", "proxy.py", "pytest-xdist", "backports.zstd"),
    "aiohttp",
)  # fmt: skip
URLLIB3 = Sdist(
    "urllib3",
    "2.8.0",
    ("anyio[trio]", "h2", "httpx", "hypercorn", "pysocks", "quart", "quart-trio", "trio", "idna"),
    "src",
)
WAITRESS = Sdist("waitress", "3.0.2", (), "src")

SUITES = (
    Suite(
        "cpython: test_socket",
        ("test_socket",),
        left_out={
            "test.test_socket.ThreadedVSOCKSocketStreamTest.testStream":
                "hangs on this machine without l7proxy too; VSOCK is not TCP",
        },
    ),
    Suite(
        "cpython: test_asyncio",
        ("test_asyncio",),
        limits={"*.test_sendfile_close_peer_in_the_middle_of_receiving": "buffer-sizes"},
    ),
    Suite("cpython: test_httplib", ("test_httplib",)),
    Suite("cpython: test_urllib2_localnet", ("test_urllib2_localnet",)),
    Suite("cpython: test_ssl", ("test_ssl",)),
    Suite("cpython: test_httpservers", ("test_httpservers",)),
    Suite(
        "cpython: others",
        ("test_socketserver", "test_ftplib", "test_smtplib", "test_poplib", "test_imaplib",
         "test_telnetlib", "test_asyncore", "test_asynchat", "test_xmlrpc", "test_wsgiref",
         "test_selectors", "test_epoll", "test_poll"),
        limits={"*.test_handle_expt": "urgent-data"},
    ),
    Suite(
        "urllib3",
        ("test/with_dummyserver", "test/test_ssltransport.py"),
        URLLIB3,
        left_out={
            "test/with_dummyserver/test_connectionpool.py::TestConnectionPool::"
            f"test_source_address_error[invalid_source_address0-{way}]":
                "binds 192.0.2.255, which is a broadcast address of the place without l7proxy"
            for way in ("False", "True")
        } | {
            f"test/with_dummyserver/test_https.py::TestHTTPS_TLSv1_{minor}::"
            "test_http2_probe_blocked_per_thread":
                "wants an address that swallows packets; here it fails, or not, with and without "
                "l7proxy, by which thread is first"
            for minor in (2, 3)
        },
    ),
    Suite(
        "aiohttp",
        tuple(
            f"tests/test_{name}.py"
            for name in (
                "client_functional", "client_ws_functional", "connector", "proxy_functional",
                "test_utils", "web_functional", "web_runner", "web_sendfile_functional",
                "web_server", "web_websocket_functional",
            )
        ),
        AIOHTTP,
    ),
    Suite("waitress", ("tests/test_functional.py",), WAITRESS, apart=True),
)  # fmt: skip
