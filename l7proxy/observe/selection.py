"""Which records of a stream are shown: those that filters take, of a span of time, at one end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from l7proxy.observe.filters import Filters
from l7proxy.observe.seen import Seen


@dataclass(frozen=True, slots=True)
class Selection:
    """``since`` and ``until`` in nanoseconds since the epoch; None: no bound."""

    filters: Filters
    since: int | None = None
    until: int | None = None

    def takes(self, seen: Seen) -> bool:
        """As in Hubble, that records were lost is shown whatever the filters."""
        if seen.time is not None:
            if self.since is not None and seen.time < self.since:
                return False
            if self.until is not None and seen.time > self.until:
                return False
        if seen.flow is not None:
            return self.filters.matches(seen.flow)
        return seen.lost is not None


def first(count: int, records: Iterable[Seen]) -> Iterator[Seen]:
    """The first ``count`` flows, with what is told in between."""
    flows = 0
    for seen in records:
        yield seen
        flows += seen.flow is not None
        if flows >= count:
            return


def last(count: int, records: Iterable[Seen]) -> list[Seen]:
    """The last ``count`` flows, with what is told in between."""
    kept: deque[Seen] = deque()
    flows = 0
    for seen in records:
        kept.append(seen)
        flows += seen.flow is not None
        if flows > count:
            while kept.popleft().flow is None:
                pass
            flows -= 1
            while kept and kept[0].flow is None:
                kept.popleft()
    return list(kept)
