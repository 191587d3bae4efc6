"""The node's metrics and memory while something happens to it."""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Samples = Mapping[str, float]
"""By name and labels as they are written: ``name{label="value"}``."""

EVERY = 0.25
_PRODUCT = (b"\0run\0", b"l7proxy.proxy.worker")


@dataclass(frozen=True, slots=True)
class Metric:
    """Tells of a fault by rising by ``least`` or more while it lasts. ``name`` is for people."""

    name: str
    value: Callable[[Samples], float]
    least: float = 1.0


def total(name: str, *labels: str, least: float = 1.0) -> Metric:
    """The sum of a metric's samples that have all of ``labels``, written ``label="value"``."""

    def value(samples: Samples) -> float:
        return sum(
            sample
            for key, sample in samples.items()
            if key.partition("{")[0] == name and all(label in key for label in labels)
        )

    return Metric(f"{name}{{{','.join(labels)}}}" if labels else name, value, least)


def parsed(text: str) -> dict[str, float]:
    """What a scrape says."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def memory(cgroup: Path) -> int:
    """Bytes of the agent and its workers that are resident."""
    pages = 0
    for pid in (cgroup / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            if any(word in Path(f"/proc/{pid}/cmdline").read_bytes() for word in _PRODUCT):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@dataclass(slots=True)
class Seen:
    """What was there at first, all scrapes since, and by how many bytes memory grew at most."""

    first: Samples
    later: list[Samples] = field(default_factory=list)
    growth: int = 0

    def rise(self, metric: Metric) -> float:
        """By how much it rose at most."""
        before = metric.value(self.first)
        return max((metric.value(each) - before for each in self.later), default=0.0)


@contextlib.contextmanager
def watching(scrape: Callable[[], Samples | None], cgroup: Path) -> Iterator[Seen]:
    """Looks several times a second. ``scrape`` gives None where the agent does not answer."""
    first = scrape()
    assert first is not None, "no metrics before the fault"
    seen, before = Seen(first), memory(cgroup)
    over = threading.Event()

    def look() -> None:
        while not over.wait(EVERY):
            seen.growth = max(seen.growth, memory(cgroup) - before)
            if (samples := scrape()) is not None:
                seen.later.append(samples)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        if (samples := scrape()) is not None:
            seen.later.append(samples)
