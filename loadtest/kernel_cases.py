"""What the kernel road is measured in, against what, and what is promised of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loadtest import kernel_rules, kernel_stage
from loadtest.answers import Check
from loadtest.kernel_stage import HOST, Side, Stage
from loadtest.probes import Megabytes, Probe, Requests
from loadtest.progress import Progress
from loadtest.rounds import Aim
from loadtest.routes import Route, serving, unruled
from loadtest.uploads import Upload

DIRECT, KERNEL = "direct", "kernel"
NO_SLOWER = Aim(1.0, at_least=False)
UNLIKE = 1000
"""Requests with targets of their own: more than the kernel keeps of those that it has read."""
IDLE_CPU = Aim(1.0, at_least=False)
"""Milliseconds for 1,000 requests: what an agent that has nothing to do may use in that time."""


@dataclass(frozen=True, slots=True)
class Case:
    """Subjects that are measured one after the other, and claims about their ratios.

    ``claims`` are (above, below, aim) by the names of the probes, for rates; ``p99`` is an aim
    for the first two probes' latencies (second / first); ``cpu`` for the agent's time in KERNEL.
    """

    probes: Mapping[str, Probe]
    claims: tuple[tuple[str, str, Aim], ...]
    checks: tuple[Check, ...]
    unit: str = "req/s"
    p99: Aim | None = None
    cpu: Aim | None = None


Builder = Callable[[Stage, Progress], Case]


def _loopback(side: Side, port: int = kernel_stage.PORT) -> Route:
    return Route(side.service_client, HOST, port)


def _pods(side: Side) -> Route:
    return Route(side.pod_client, side.pod_users.ip, kernel_stage.POD_PORT)


def _outside(side: Side) -> Route:
    return Route(side.outside, side.pod_users.ip, kernel_stage.POD_PORT)


def _against_direct(
    route: Callable[[Side], Route],
    aim: Aim,
    *,
    target: str = kernel_rules.TARGET,
    p99: Aim | None = None,
    **options: object,
) -> Builder:
    """The same load on both sides."""

    def build(stage: Stage, progress: Progress) -> Case:
        direct, covered = route(stage.direct), route(stage.covered)
        return Case(
            {
                DIRECT: Requests(direct.load(target, **options)),
                KERNEL: Requests(covered.load(target, **options)),
            },
            ((KERNEL, DIRECT, aim),),
            (*unruled(direct), *serving(covered), covered.check("GET", target, 200)),
            p99=p99,
        )

    return build


def _long_heads(stage: Stage, progress: Progress) -> Case:
    lines = kernel_rules.long_head(f"{HOST}:{kernel_stage.PORT}")
    build = _against_direct(_loopback, Aim(1.2), p99=NO_SLOWER, headers=lines)
    return build(stage, progress)


def _refused(stage: Stage, progress: Progress) -> Case:
    """Refusals that the agent's processes must not notice, against answers of the server."""
    direct, covered = _loopback(stage.direct), _loopback(stage.covered)
    method, target = kernel_rules.REFUSED
    load = covered.load(target, method=method, refused=100)
    return Case(
        {DIRECT: Requests(direct.load()), KERNEL: Requests(load, agent=stage.agent_pid)},
        ((KERNEL, DIRECT, Aim(1.2)),),
        (*unruled(direct), *serving(covered)),
        cpu=IDLE_CPU,
    )


def _records(stage: Stage, progress: Progress) -> Case:
    """What records cost at the rate that is the default."""
    without, with_records = _loopback(stage.unrecorded()), _loopback(stage.covered)
    names = ("without records", "records at the default rate")
    return Case(
        {names[0]: Requests(without.load()), names[1]: Requests(with_records.load())},
        ((names[1], names[0], Aim(0.95)),),
        (*serving(without), *serving(with_records)),
    )


def _uploads(size: int, coding: str) -> Builder:
    def build(stage: Stage, progress: Progress) -> Case:
        port = kernel_stage.UPLOAD_PORT
        direct, covered = _loopback(stage.direct, port), _loopback(stage.covered, port)
        return Case(
            {
                name: Megabytes(Upload(route.client, HOST, port, coding, size))
                for name, route in ((DIRECT, direct), (KERNEL, covered))
            },
            ((KERNEL, DIRECT, Aim(0.85)),),
            (
                direct.check("PUT", "/upload", 204, b"x"),
                covered.check("POST", "/upload/1", 204, b"x"),
                covered.check("PUT", "/upload", 403, b"x"),
            ),
            unit="MB/s",
        )

    return build


BUILDERS: Mapping[str, Builder] = {
    "loopback": _against_direct(_loopback, Aim(1.3), p99=NO_SLOWER),
    f"loopback, {kernel_rules.LONG_HEAD} byte head": _long_heads,
    "loopback, requests unlike each other": _against_direct(
        _loopback, Aim(1.2), p99=NO_SLOWER, target="/users/echo", unlike=UNLIKE
    ),
    "pod to pod": _against_direct(_pods, Aim(1.7), p99=NO_SLOWER),
    "8 KB body": _against_direct(_loopback, Aim(1.3), target="/users/files/8k"),
    "64 KB body": _against_direct(_loopback, Aim(1.15), target="/users/files/64k"),
    "1 MB body": _against_direct(_loopback, Aim(1.1), target="/users/files/1m"),
    "8 KB body, copied": _against_direct(_loopback, Aim(1.3), target="/users/copied/8k"),
    "64 KB body, copied": _against_direct(_loopback, Aim(1.15), target="/users/copied/64k"),
    "1 MB body, copied": _against_direct(_loopback, Aim(1.1), target="/users/copied/1m"),
    "8 KB body, from memory": _against_direct(_loopback, Aim(1.3), target="/users/memory/8k"),
    "64 KB body, from memory": _against_direct(_loopback, Aim(1.15), target="/users/memory/64k"),
    "refused": _refused,
    "client outside": _against_direct(_outside, Aim(0.82)),
    "connection per request": _against_direct(_loopback, Aim(0.85), close=True),
    "records": _records,
    "upload 1 MB, length": _uploads(1 << 20, "length"),
    "upload 1 MB, chunked": _uploads(1 << 20, "chunked"),
    "upload 100 MB, length": _uploads(100 << 20, "length"),
    "upload 100 MB, chunked": _uploads(100 << 20, "chunked"),
}
"""By title, in the order in which they are measured."""

PROBES = 2
"""How many subjects a case has."""
