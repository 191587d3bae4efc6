"""What the agent is told from outside: policies and workloads, as files in which people write.

Each is taken whole or not at all, and the last good one stays: a mistake in the policies does not
keep new workloads from being known, nor the other way about.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from l7proxy.agent.watch import Fingerprint, fingerprint
from l7proxy.config import Config
from l7proxy.limits import Limits
from l7proxy.policy.store import LiveSet
from l7proxy.workloads import documents
from l7proxy.workloads.documents import WorkloadErrors, WorkloadSet

_SETTLE_SECONDS = 0.05
_SETTLE_TRIES = 10
_GRAIN_NS = 100_000_000


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
        self.paths = (config.policies, config.workloads)
        self.policies = LiveSet(config.limits)
        self.workloads = LiveWorkloads(config.limits)
        self._files = (
            _Files(config.policies, lambda: self.policies.replace([config.policies])),
            _Files(config.workloads, lambda: self.workloads.replace(config.workloads)),
        )

    @property
    def errors(self) -> tuple[str, ...]:
        """What is wrong with the files as they are now: ``file:line: message`` each."""
        return (*map(str, self.policies.errors), *self.workloads.errors)

    @property
    def warnings(self) -> tuple[str, ...]:
        found = self.workloads.current
        return tuple(map(str, found.warnings)) if found is not None else ()

    async def read(self, *, insist: bool = False) -> None:
        """Read what has changed, or with ``insist`` everything. Raises nothing: see ``errors``."""
        for files in self._files:
            await files.read(insist)


class _Files:
    """The files at one path; a long list of pods is not read again for a changed policy."""

    def __init__(self, path: Path, replace: Callable[[], object]) -> None:
        self._path = path
        self._replace = replace
        self._known: Fingerprint | None = None

    async def read(self, insist: bool) -> None:
        """Read, and again if they changed meanwhile: one may be in the middle of being written."""
        for _ in range(_SETTLE_TRIES):
            now = time.time_ns()
            before = fingerprint(self._path)
            if before == self._known and not insist:
                return
            await asyncio.to_thread(self._replace)
            if fingerprint(self._path) == before:
                # Another write within the clock's grain would look the same: then do not rely on
                # the looks, and read again at the next notice.
                settled = now - max((look.changed_ns for look in before), default=0) > _GRAIN_NS
                self._known = before if settled else None
                return
            await asyncio.sleep(_SETTLE_SECONDS)
