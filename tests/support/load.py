"""Requests without end from a thread, so that something happens to a system while it is busy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from l7proxy.demo.client import Outcome, exchange
from l7proxy.demo.places import Place

PATIENCE = 20.0
"""Seconds after which a load that makes no progress fails the test."""


class Load:
    """One client that sends the same request again and again, on one connection while it lasts.

    ``outcomes`` counts what it got, as text. A connection that ends is opened again.
    """

    def __init__(self, client: Place, host: str, port: int, target: str) -> None:
        self._client = client
        self._address = (host, port)
        self._target = target
        self._changed = threading.Condition()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name=f"load {target}")
        self.outcomes: list[Outcome] = []
        self.connections = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop = True
        self._thread.join()

    @property
    def count(self) -> int:
        """Requests tried so far."""
        with self._changed:
            return len(self.outcomes)

    def wait(self, more: int) -> list[Outcome]:
        """Wait for ``more`` further outcomes; returns them."""
        start = self.count
        return self.wait_until(lambda new: len(new) >= more, start)

    def wait_until(self, done: Callable[[list[Outcome]], bool], start: int) -> list[Outcome]:
        """Wait until ``done`` is true of the outcomes since number ``start``; returns them."""
        with self._changed:
            if not self._changed.wait_for(lambda: done(self.outcomes[start:]), PATIENCE):
                raise TimeoutError(f"{self._target}: {self.outcomes[start:][-5:]}")
            return self.outcomes[start:]

    def _run(self) -> None:
        while not self._stop:
            try:
                connection = self._client.connect(*self._address)
            except OSError as error:
                self._note(Outcome.failed("connect", error))
                continue
            with connection:
                self.connections += 1
                open_still = True
                while open_still and not self._stop:
                    outcome = exchange(connection, "GET", self._target)
                    self._note(outcome)
                    closing = (outcome.header("Connection") or "").lower() == "close"
                    open_still = outcome.status is not None and not closing

    def _note(self, outcome: Outcome) -> None:
        with self._changed:
            self.outcomes.append(outcome)
            self._changed.notify_all()
