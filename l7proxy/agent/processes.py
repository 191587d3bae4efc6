"""What the kernel says of a worker's process: for the metrics."""

from __future__ import annotations

import resource
from pathlib import Path

from l7proxy.observe.metrics import ProcessFacts


def facts(pid: int) -> ProcessFacts | None:
    """None where it is gone, or this process may open no file to look."""
    folder = Path(f"/proc/{pid}")
    try:
        pages = int((folder / "statm").read_text().split()[1])
        files = sum(1 for _ in (folder / "fd").iterdir())
        most, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    except OSError:
        return None
    return ProcessFacts(pages * resource.getpagesize(), files, most)
