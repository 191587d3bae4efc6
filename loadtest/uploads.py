"""Uploads from a place to a server of our own, and how fast they went.

Both ends are plain Python files (``upload_client.py``, ``upload_server.py``) that hand the kernel
large buffers, so that time goes into moving bytes and not into Python.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from l7proxy.demo import servers
from l7proxy.demo.places import Place

CLIENT = Path(__file__).with_name("upload_client.py")
SERVER = Path(__file__).with_name("upload_server.py")
MARGIN = 60.0
MEGABYTE = 1 << 20


class UploadError(Exception):
    """An upload failed; the text is what the client said."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What to upload from where; ``coding`` is "length" or "chunked"."""

    place: Place
    host: str
    port: int
    coding: str
    size: int


def serve(place: Place, directory: Path, host: str, port: int) -> None:
    """Start the server, and return when it accepts connections."""
    directory.mkdir()
    log = directory / "stderr"
    argv = [sys.executable, "-I", "-S", str(SERVER), host, str(port)]
    with log.open("wb") as stream:
        process = place.popen(argv, stdout=stream, stderr=stream)
    servers.wait_ready(place, process, [(host, port)], log)


def rate(load: Upload, seconds: float) -> float:
    """Megabytes of content per second. Raises UploadError."""
    argv = [sys.executable, "-I", "-S", str(CLIENT), load.host, str(load.port)]
    argv += [load.coding, str(load.size), str(seconds)]
    done = load.place.run(argv, timeout=seconds + MARGIN)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise UploadError(f"upload, {load.coding}, {load.size} bytes: {said[-1]}")
    found = json.loads(done.stdout)
    return float(found["uploads"]) * load.size / MEGABYTE / float(found["seconds"])
