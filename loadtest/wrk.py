"""One run of wrk, and what it measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from l7proxy.demo.places import Place

SCRIPT = Path(__file__).with_name("wrk") / "report.lua"
CONNECTIONS = 32


class WrkError(Exception):
    """wrk did not run, or met errors; the text says which."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send from where. ``close`` makes a new connection for each request.

    ``headers`` are whole lines. ``refused`` says that every request is to be answered with an
    error status, instead of none.
    """

    place: Place
    url: str
    close: bool = False
    connections: int = CONNECTIONS
    method: str = "GET"
    headers: tuple[str, ...] = ()
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """Requests per second and in all; latencies in microseconds."""

    rate: float
    p50: int
    p99: int
    requests: int


def run(load: Load, seconds: float) -> Result:
    """Send ``load`` for that long. Raises WrkError if any request failed: the rate means nothing.

    wrk takes whole seconds only; for less it is stopped early, which it reports as usual.
    """
    argv = ["wrk", "-t", "1", "-c", str(load.connections), "-s", str(SCRIPT), "--timeout", "10s"]
    for line in (*load.headers, *(("Connection: close",) if load.close else ())):
        argv += ["-H", line]
    if seconds < 1:
        argv = ["timeout", "--signal=INT", f"{seconds:g}s", *argv]
    argv += ["-d", f"{max(1, round(seconds))}s", load.url, "--", load.method]
    done = load.place.run(argv, timeout=seconds + 30)
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        raise WrkError(f"{load.url}: {done.stderr.strip() or done.stdout.strip()}") from None
    # A server that closes after each answer makes wrk count nothing as an error.
    requests = found["requests"]
    wrong = abs(found["refused"] - requests) if load.refused else found["refused"]
    errors = found["errors"] + wrong
    if errors or not requests:
        raise WrkError(f"{load.url}: {errors} errors, {requests} requests")
    return Result(requests / found["seconds"], found["p50"], found["p99"], requests)


def rate(load: Load, seconds: float) -> float:
    """Requests per second. Raises WrkError."""
    return run(load, seconds).rate
