"""What the agent is told from outside: policies and workloads, as files in which people write.

Each is taken whole or not at all, and the last good one stays: a mistake in the policies does not
keep new workloads from being known, nor the other way about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from l7proxy.agent.watch import fingerprint
from l7proxy.config import Config
from l7proxy.limits import Limits
from l7proxy.policy.store import LiveSet
from l7proxy.workloads import documents
from l7proxy.workloads.documents import WorkloadErrors, WorkloadSet

_SETTLE_SECONDS = 0.05
_SETTLE_TRIES = 10


class LiveWorkloads:
    """The workloads in force; ``current`` is None until a first good set has been read."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.current: WorkloadSet | None = None
        self.errors: tuple[str, ...] = ()

    def replace(self, path: Path) -> None:
        """Read ``path``; the former set stays if anything is wrong with it."""
        try:
            self.current = documents.load(path, self._limits)
            self.errors = ()
        except WorkloadErrors as error:
            self.errors = tuple(map(str, error.errors))


class Inputs:
    """Reads both inputs; ``policies`` and ``workloads`` hold what is good of them."""

    def __init__(self, config: Config) -> None:
        self._policies_path = config.policies
        self._workloads_path = config.workloads
        self.policies = LiveSet(config.limits)
        self.workloads = LiveWorkloads(config.limits)

    @property
    def paths(self) -> tuple[Path, Path]:
        return self._policies_path, self._workloads_path

    @property
    def errors(self) -> tuple[str, ...]:
        """What is wrong with the files as they are now: ``file:line: message`` each."""
        return (*map(str, self.policies.errors), *self.workloads.errors)

    @property
    def warnings(self) -> tuple[str, ...]:
        found = self.workloads.current
        return tuple(map(str, found.warnings)) if found is not None else ()

    async def read(self) -> None:
        """Read everything again. Nothing is raised: see ``errors``."""
        await _settled(self._policies_path, lambda: self.policies.replace([self._policies_path]))
        await _settled(self._workloads_path, lambda: self.workloads.replace(self._workloads_path))


async def _settled(path: Path, read: Callable[[], object]) -> None:
    """Read, and again if it changed meanwhile: a file may be in the middle of being written."""
    for _ in range(_SETTLE_TRIES):
        before = fingerprint(path)
        await asyncio.to_thread(read)
        if fingerprint(path) == before:
            return
        await asyncio.sleep(_SETTLE_SECONDS)
