"""The pinned kernel state: loading it, adopting what an earlier agent left, removing it.

Everything of one build lies in ``<bpffs>/<build>``: maps, programs and links. The build's name is
made from sources, limits and kernel, so an agent that finds its own build can adopt it as it is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l7proxy.datapath import features, libbpf, loader, source
from l7proxy.datapath.cache import Cache
from l7proxy.datapath.compiled import Compiled
from l7proxy.datapath.layout import Table
from l7proxy.datapath.objects import Rejected
from l7proxy.datapath.pins import Pins
from l7proxy.datapath.port import DatapathError
from l7proxy.datapath.programs import PROGRAMS, Hook
from l7proxy.limits import Limits
from l7proxy.paths import bpf_dir

_COMPILER_SECONDS = 120
LAYOUTS = "layouts-{build}.json"
IDENTITY_KEY = "identity.key"
RULE_NAMES = "rule-names.json"


class Store:
    """The maps and programs of one build, pinned in ``folder``.

    ``layouts``: of the maps. ``kernel_road_lacks``: why the programs of the kernel road could not
    be loaded, where they could not.
    """

    def __init__(
        self, folder: Path, layouts: Mapping[str, Any], kernel_road_lacks: str = ""
    ) -> None:
        self.folder = folder
        self.layouts = layouts
        self.kernel_road_lacks = kernel_road_lacks
        self.pins = Pins(folder)
        self._tables: dict[str, Table] = {}

    def table(self, name: str) -> Table:
        """A map with the layout that the compiled module gave it."""
        if name not in self._tables:
            self._tables[name] = Table(self.folder / name, self.layouts[name])
        return self._tables[name]

    def program(self, name: str) -> int:
        """A descriptor of a pinned program; the caller closes it."""
        return libbpf.obj_get(self.folder / f"prog_{name}")

    def is_attached(self, name: str) -> bool:
        """Whether there is a link of this name."""
        return self.pins.has(f"link_{name}")

    def attach(self, name: str, program: str, target: int, attach_type: int) -> None:
        """Attaches a pinned program to ``target`` by a link of this name. Raises OSError."""
        descriptor = self.program(program)
        try:
            self.pins.add(f"link_{name}", libbpf.link_create(descriptor, target, attach_type))
        finally:
            os.close(descriptor)

    def detach(self, name: str) -> None:
        """Ends the link of this name, if there is one."""
        self.pins.remove(f"link_{name}")

    def links(self) -> list[str]:
        """The names of the links that are pinned."""
        return sorted(p.name.removeprefix("link_") for p in self.folder.glob("link_*"))

    def has_kernel_road(self) -> bool:
        """Whether the kernel took the programs that judge requests."""
        return self.is_attached("on_arrival")

    def programs(self) -> list[str]:
        """The functions that are loaded, each once however many copies there are."""
        pinned = {path.name for path in self.folder.glob("prog_*")}
        return [
            program.function
            for program in PROGRAMS
            if f"prog_{program.function}{'_0' if program.per_slot else ''}" in pinned
        ]


def open_store(bpffs: Path, state: Path, cache: Cache, limits: Limits) -> tuple[Store, bool]:
    """The state of this build, and whether it was there already. Raises DatapathError.

    A build of another version, and one that lacks something, is left in force until
    ``remove_others`` is called.
    """
    try:
        built = source.assemble(bpf_dir(), limits)
    except (OSError, KeyError) as error:
        raise DatapathError(f"cannot prepare the eBPF programs: {error}") from None
    folder = bpffs / built.build
    described = state / LAYOUTS.format(build=built.build)
    try:
        # Without the layouts the maps cannot be read.
        found = json.loads(described.read_text())
        if all((folder / pin).exists() for pin in found["pins"]):
            return _store(folder, found), True
    except (OSError, ValueError, KeyError):
        pass
    _set_aside(folder)
    made = _make(folder, built, cache, limits)
    partial = described.with_suffix(".new")
    partial.write_text(json.dumps(made))
    partial.rename(described)
    return _store(folder, made), False


def _store(folder: Path, made: Mapping[str, Any]) -> Store:
    """Of what was written down when it was made."""
    return Store(folder, made["maps"], made["kernel_road_lacks"])


def _set_aside(folder: Path) -> None:
    """Gives what is left of a build another name, under which it stays in force. Raises
    DatapathError."""
    aside = folder.with_name(f"{folder.name}-damaged")
    try:
        if aside.is_dir():
            remove_build(folder)  # its successor, which never came into force
        elif folder.is_dir():
            folder.rename(aside)
    except OSError as error:
        raise DatapathError(f"cannot replace {folder}: {error}") from None


def _make(folder: Path, built: source.Source, cache: Cache, limits: Limits) -> dict[str, Any]:
    """Loads the module that was kept, or compiles one; what there is to know of it later."""
    kept = cache.find(built.build)
    if kept is not None:
        try:
            return _load(folder, kept, limits)
        except DatapathError:
            pass  # whatever is wrong with it
    text = _compile(built)
    made = _load(folder, Compiled.from_json(text), limits)
    cache.keep(built.build, text)
    return made


def _load(folder: Path, compiled: Compiled, limits: Limits) -> dict[str, Any]:
    try:
        folder.mkdir(parents=True)
        lacking = loader.load(
            compiled,
            folder,
            ring_bytes=source.ring_bytes(limits),
            slots=limits.namespaces,
            receive=features.fionread_is_blind(),
        )
        pins = sorted(path.name for path in folder.iterdir())
    except (OSError, Rejected, KeyError, ValueError) as error:
        remove_build(folder)
        raise DatapathError(f"cannot load the eBPF programs: {error}") from None
    return {"maps": compiled.layouts, "pins": pins, "kernel_road_lacks": lacking}


def _compile(built: source.Source) -> str:
    """What ``Compiled.from_json`` reads."""
    request = json.dumps({"text": built.text, "macros": built.macros})
    try:
        done = subprocess.run(
            [sys.executable, "-m", "l7proxy.datapath.compile"],
            input=request,
            capture_output=True,
            text=True,
            timeout=_COMPILER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DatapathError(f"cannot compile the eBPF programs: {error}") from None
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise DatapathError(f"cannot compile the eBPF programs: {words[-1] if words else 'killed'}")
    return done.stdout


def remove_others(bpffs: Path, state: Path, build: str) -> None:
    """Detaches and removes the state of every other version."""
    for folder in bpffs.iterdir():
        if folder.is_dir() and folder.name != build:
            remove_build(folder)
    for described in state.glob(LAYOUTS.format(build="*")):
        if described.name != LAYOUTS.format(build=build):
            described.unlink(missing_ok=True)


def remove_all(bpffs: Path, state: Path, cache: Cache) -> int:
    """Detaches and removes everything; the number of objects that were pinned."""
    removed = 0
    if features.is_bpffs(bpffs) and bpffs.is_dir():
        for folder in bpffs.iterdir():
            if folder.is_dir():
                removed += remove_build(folder)
        if not any(bpffs.iterdir()) and not os.path.ismount(bpffs):
            bpffs.rmdir()
    for described in state.glob(LAYOUTS.format(build="*")):
        described.unlink(missing_ok=True)
    for name in (IDENTITY_KEY, RULE_NAMES):
        (state / name).unlink(missing_ok=True)
    cache.clear()
    return removed


def remove_build(folder: Path) -> int:
    """Links first: what is detached no longer asks maps. Returns the number of objects."""
    if not folder.is_dir():
        return 0
    pins = sorted(folder.iterdir(), key=lambda path: not path.name.startswith("link_"))
    for pin in pins:
        pin.unlink()
    shutil.rmtree(folder)
    return len(pins)


def identity_key(state: Path) -> bytes:
    """The node's secret for numbering identities, made once and kept beside the agent's state.

    Where it is lost, what the kernel recorded before is nobody's any more, and refused.
    """
    path = state / IDENTITY_KEY
    try:
        return path.read_bytes()
    except FileNotFoundError:
        key = os.urandom(16)
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(key)
        return key


def cgroup_programs() -> list[tuple[str, int]]:
    """(function, attach type) of what is attached to the covered cgroup, guards first."""
    return [
        (program.function, program.attach_type)
        for program in PROGRAMS
        if program.hook is Hook.CGROUP
    ]
