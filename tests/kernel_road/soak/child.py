"""A process of the soak, which reports by lines of JSON until its standard input ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from l7proxy.demo.places import Place, stop
from tests.datapath.covered import ROOT

_END_SECONDS = 60.0


class Child:
    """A context manager; stopped by its own id at the latest at the end of the block.

    ``latest``: what it reported last; ``heard`` is told of each report, from another thread.
    """

    def __init__(
        self, place: Place, module: str, *arguments: str, heard: Callable[[Any], None]
    ) -> None:
        self.latest: Any = None
        self.module = module
        self._heard = heard
        self._first = threading.Event()
        self._process = place.popen(
            [sys.executable, "-m", f"tests.kernel_road.soak.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._thread = threading.Thread(target=self._listen, name=module)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._thread.join()  # its end of the pipe ends with the process
        stop(self._process)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for_report(self) -> None:
        """Until it has begun. Raises RuntimeError where it does not."""
        if not self._first.wait(_END_SECONDS) or self.latest is None:
            raise RuntimeError(f"{self.module} does not start")

    def check(self) -> None:
        """Raises RuntimeError if it has ended by itself."""
        code = self._process.poll()
        if code is not None:
            raise RuntimeError(f"{self.module} ended with {code}")

    def end(self) -> None:
        """Lets it end. Raises RuntimeError where it does not, or not well."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{self.module} does not end") from None
        self._thread.join()
        if code:
            raise RuntimeError(f"{self.module} ended with {code}")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.latest = json.loads(line)
            self._first.set()
            self._heard(self.latest)
        self._first.set()
