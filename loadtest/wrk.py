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
class Mix:
    """A share of all requests, in percent, that are others than the load's own."""

    share: int
    method: str
    target: str


@dataclass(frozen=True, slots=True)
class Load:
    """What to send from where. ``close`` makes a new connection for each request.

    ``headers`` are whole lines. ``refused`` is the share of the requests, in percent, that must
    be answered with an error status. ``unlike``: so many requests that differ in their targets,
    which begin with the URL's, and in a field; 0 for one over and over.
    """

    place: Place
    url: str
    close: bool = False
    connections: int = CONNECTIONS
    method: str = "GET"
    headers: tuple[str, ...] = ()
    refused: int = 0
    mix: Mix | None = None
    unlike: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """Requests per second and in all, and how many were refused; latencies in microseconds."""

    rate: float
    p50: int
    p99: int
    p999: int
    requests: int
    refused: int


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
    if load.mix:
        argv += ["mix", str(load.mix.share), load.mix.method, load.mix.target]
    if load.unlike:
        argv += ["unlike", str(load.unlike)]
    done = load.place.run(argv, timeout=seconds + 30)
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        raise WrkError(f"{load.url}: {done.stderr.strip() or done.stdout.strip()}") from None
    # A server that closes after each answer makes wrk count nothing as an error.
    requests, refused = found["requests"], found["refused"]
    errors = found["errors"] + _wrong(load, requests, refused)
    if errors or not requests:
        raise WrkError(
            f"{load.url}, {load.connections} connections:"
            f" {errors} errors, {requests} requests, {refused} refused"
        )
    rate = requests / found["seconds"]
    return Result(rate, found["p50"], found["p99"], found["p999"], requests, refused)


def rate(load: Load, seconds: float) -> float:
    """Requests per second. Raises WrkError."""
    return run(load, seconds).rate


def _wrong(load: Load, requests: int, refused: int) -> int:
    """How many answers were refusals, or none, against what was to be expected."""
    if load.refused in (0, 100):
        return abs(refused - requests * load.refused // 100)
    # Each connection has one request on its way when the run ends, and that may be either kind.
    difference = abs(refused - requests * load.refused / 100)
    return round(difference) if difference > load.connections + 1 else 0
