"""Waiting for what has no event of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def eventually(holds: Callable[[], Any], seconds: float) -> Any:
    """Asks until the answer is true, and gives it; fails where that takes longer."""
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.01)
    return answer
