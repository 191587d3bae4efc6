"""Whether time passes for the agent as it should: by a clock it notices its own faults."""

from __future__ import annotations

import asyncio
import time

_BEAT_SECONDS = 0.5
_LATE_SECONDS = 0.5
"""Less than that an agent with a lower priority than its servers may be late at any time."""
_STEP_SECONDS = 1.0
"""Less than that is the correction of a clock that is not quite right."""


class Clockwork:
    """``late``: seconds by which the agent came late, because it was frozen or got no processor.
    ``steps``: times that the wall clock was set."""

    def __init__(self) -> None:
        self.late = 0.0
        self.steps = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        before, wall = time.monotonic(), time.time()
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            now, wall_now = time.monotonic(), time.time()
            late = now - before - _BEAT_SECONDS
            if late > _LATE_SECONDS:
                self.late += late
            if abs((wall_now - wall) - (now - before)) > _STEP_SECONDS:
                self.steps += 1
            before, wall = now, wall_now
