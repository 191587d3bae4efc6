"""What the kernel road is measured in, against what, and what is promised of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from l7proxy.demo.places import Place
from loadtest import kernel_rules, kernel_stage, peers
from loadtest.answers import Check
from loadtest.kernel_stage import HOST, Side, Stage
from loadtest.probes import Megabytes, Probe, Requests
from loadtest.progress import Progress
from loadtest.rounds import Aim
from loadtest.uploads import Upload
from loadtest.wrk import Load

DIRECT, KERNEL = "direct", "kernel"
NO_SLOWER = Aim(1.0, at_least=False)
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


@dataclass(frozen=True, slots=True)
class Route:
    """Where a client is, and where it finds the server."""

    client: Place
    host: str
    port: int

    def load(self, target: str = kernel_rules.TARGET, **options: Any) -> Load:
        url = f"http://{self.host}:{self.port}{target}"
        return Load(self.client, url, **options)

    def check(self, method: str, target: str, status: int, body: bytes = b"") -> Check:
        return Check(self.client, self.host, self.port, method, target, status, body)


def _loopback(side: Side, port: int = kernel_stage.PORT) -> Route:
    return Route(side.service_client, HOST, port)


def _pods(side: Side) -> Route:
    return Route(side.pod_client, side.pod_users.ip, kernel_stage.POD_PORT)


def _outside(side: Side) -> Route:
    return Route(side.outside, side.pod_users.ip, kernel_stage.POD_PORT)


def _serving(route: Route) -> tuple[Check, ...]:
    """A subject that has the rule in force."""
    return (
        route.check("GET", kernel_rules.TARGET, 200),
        route.check("DELETE", "/users/1", 403),
        route.check("GET", "/admin", 403),
    )


def _unruled(route: Route) -> tuple[Check, ...]:
    """A subject that has no rule: it is the server alone that answers."""
    return (route.check("GET", kernel_rules.TARGET, 200), route.check("DELETE", "/users/1", 200))


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
            (*_unruled(direct), *_serving(covered), covered.check("GET", target, 200)),
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
    load = covered.load("/users/1", method="DELETE", refused=True)
    return Case(
        {DIRECT: Requests(direct.load()), KERNEL: Requests(load, agent=stage.agent_pid)},
        ((KERNEL, DIRECT, Aim(1.2)),),
        (*_unruled(direct), *_serving(covered)),
        cpu=IDLE_CPU,
    )


def _records(stage: Stage, progress: Progress) -> Case:
    """What records cost at the rate that is the default."""
    without, with_records = _loopback(stage.unrecorded()), _loopback(stage.covered)
    names = ("without records", "records at the default rate")
    return Case(
        {names[0]: Requests(without.load()), names[1]: Requests(with_records.load())},
        ((names[1], names[0], Aim(0.95)),),
        (*_serving(without), *_serving(with_records)),
    )


def _many_rules(stage: Stage, progress: Progress) -> Case:
    one, many = _loopback(stage.covered), _loopback(stage.covered, kernel_stage.MANY_PORT)
    names = ("1 rule", f"{kernel_rules.MANY:,} rules")
    return Case(
        {names[0]: Requests(one.load()), names[1]: Requests(many.load())},
        ((names[1], names[0], Aim(0.92)),),
        (*_serving(one), *_serving(many)),
    )


def _others(stage: Stage, progress: Progress) -> Case:
    """Other proxies on the node without an agent, in front of the same nginx."""
    side, covered = stage.direct, _loopback(stage.covered)
    to = (HOST, kernel_stage.PORT)
    envoy, haproxy, nginx = (
        (HOST, port)
        for port in (kernel_stage.ENVOY_PORT, kernel_stage.HAPROXY_PORT, kernel_stage.NGINX_PORT)
    )
    place, folder = side.node.host, side.node.directory
    peers.start_envoy(peers.install("envoy", progress), place, folder / "envoy", envoy, to)
    peers.start_haproxy(place, folder / "haproxy", haproxy, to)
    peers.start_nginx_proxy(place, folder / "nginx-proxy", nginx, to)
    routes = {
        KERNEL: covered,
        "Envoy 1.40": Route(side.service_client, *envoy),
        "HAProxy": Route(side.service_client, *haproxy),
        "nginx as proxy": Route(side.service_client, *nginx),
    }
    aims = {"Envoy 1.40": Aim(10.0), "HAProxy": Aim(2.5), "nginx as proxy": Aim(2.5)}
    checks = [check for route in routes.values() for check in _serving(route)]
    # The others have the path normalised before they match it, as l7proxy has.
    checks += [routes[name].check("GET", "/users/%2e%2e//admin", 403) for name in aims]
    return Case(
        {name: Requests(route.load()) for name, route in routes.items()},
        tuple((KERNEL, name, aim) for name, aim in aims.items()),
        tuple(checks),
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
    "many rules": _many_rules,
    "records": _records,
    "other proxies": _others,
    "upload 1 MB, length": _uploads(1 << 20, "length"),
    "upload 1 MB, chunked": _uploads(1 << 20, "chunked"),
    "upload 100 MB, length": _uploads(100 << 20, "length"),
    "upload 100 MB, chunked": _uploads(100 << 20, "chunked"),
}
"""By title, in the order in which they are measured."""


def probes_of(title: str) -> int:
    """How many subjects a case has, before it is built."""
    return 4 if BUILDERS[title] is _others else 2
