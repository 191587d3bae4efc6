"""Every subject of the section of peers: the roads, other proxies, and none, side by side.

Four nodes alike: one without an agent, on which the other proxies are as well, and one for each
road that needs eBPF. On each, a server and a client are on loopback and in pods. What a client
must address stands on the node: on its loopback, and, between pods, at the node's own address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from l7proxy.demo import servers
from l7proxy.demo.agents import Agent
from l7proxy.demo.places import Place
from l7proxy.demo.pods import NODE_V4
from loadtest import kernel_stage, peers, subjects
from loadtest.kernel_stage import HOST, PORT_OF_RULES, Side
from loadtest.probes import PROXY, SERVER
from loadtest.progress import Progress
from loadtest.routes import Route

DIRECT, SPLICE, KERNEL = "direct", "splice", "kernel"
TRANSPARENT, USERSPACE = "proxy, transparent", "proxy, userspace"
ENVOY, HAPROXY, NGINX, MITMPROXY = "Envoy 1.40", "HAProxy", "nginx as proxy", "mitmproxy"
UNRULED = (DIRECT, SPLICE)
"""They answer what the rule would refuse."""
NORMALISING = (ENVOY, HAPROXY, NGINX)
"""They can be told to normalise the path before they match it, as l7proxy does."""
ROADS = {SPLICE: "splice", KERNEL: "kernel", TRANSPARENT: "proxy"}
EBPF = tuple(ROADS)
ADDRESSED = (USERSPACE, ENVOY, HAPROXY, NGINX, MITMPROXY)
"""Proxies that a client must address, as it must not the others."""
NOT_IN_THE_KERNEL = {"kernel_table_bytes": 1}
"""No rule fits into so little: the proxy decides them all."""
LOOPBACK, PODS = "loopback", "pod to pod"
STRAY_SHARE, STRAYS = 0.01, 4
"""Connections on another road that are let pass: such a share, or so few that they are no route's,
since each route has wrk.CONNECTIONS at the least in one of its cases."""
_FIRST_PORT = 9001


@dataclass(frozen=True, slots=True)
class Subject:
    """Where clients meet it, and the processes that serve: SERVER, and PROXY if there is one."""

    route: Route
    groups: Mapping[str, int]


def names(where: str, *, ebpf: bool) -> tuple[str, ...]:
    """The subjects that are there, in the order in which they are measured."""
    if ebpf:
        return (DIRECT, *EBPF, *ADDRESSED)
    return (DIRECT, *ADDRESSED) if where == LOOPBACK else ()


Grounds = Mapping[str, Mapping[str, Subject]]
"""Subjects by name, by where they are: on LOOPBACK or between PODS."""


@dataclass(frozen=True, slots=True)
class Stage:
    """``rules`` has other ports of two roads on loopback, by how many rules are in force there.

    ``agents`` are those that use eBPF, by the names of their subjects.
    """

    grounds: Grounds
    rules: Mapping[str, Mapping[int, Subject]]
    agents: Mapping[str, Agent]

    def off_road(self) -> list[str]:
        """What went another road than its name says, one line each."""
        lines = []
        for name, agent in self.agents.items():
            roads = {road: agent.ask("status")["roads"][road] for road in ROADS.values()}
            own = roads[ROADS[name]]
            # A late packet of a connection that is gone may count as another connection.
            if not own or sum(roads.values()) - own > max(own * STRAY_SHARE, STRAYS):
                lines.append(f"what is called {name} is not: connections by road: {roads}")
        return lines


@contextmanager
def stage(progress: Progress, *, ebpf: bool) -> Iterator[Stage]:
    """Everything is started. Without ``ebpf`` there is what works without, on loopback."""
    with ExitStack() as stack:
        if ebpf:
            yield _whole(stack, progress)
        else:
            alone = stack.enter_context(subjects.alone())
            (server,) = alone.server.endpoints
            pid = alone.server.process.pid
            direct = Subject(Route(alone.place, *server), {SERVER: pid})
            ground = _Ground(
                alone.place, server, pid, alone.place, HOST, alone.directory / "proxies"
            )
            addressed = _addressed(ground, lambda: servers.free_port(HOST), progress)
            yield Stage({LOOPBACK: {DIRECT: direct, **addressed}}, {}, {})


@dataclass(frozen=True, slots=True)
class _Ground:
    """A client, a server, and a place for proxies that are addressed, at ``host`` there."""

    client: Place
    server: tuple[str, int]
    server_pid: int
    place: Place
    host: str
    directory: Path


def _whole(stack: ExitStack, progress: Progress) -> Stage:
    progress("making four nodes, with an agent on three of them")
    plain = stack.enter_context(kernel_stage.served("peers-direct"))
    sides = {
        name: stack.enter_context(kernel_stage.served(f"peers-{ROADS[name]}")) for name in ROADS
    }
    agents = {
        SPLICE: kernel_stage.start_agent(sides[SPLICE].node, ruled=False),
        KERNEL: kernel_stage.start_agent(sides[KERNEL].node),
        TRANSPARENT: kernel_stage.start_agent(sides[TRANSPARENT].node, limits=NOT_IN_THE_KERNEL),
    }
    pids = {name: _pid(agent) for name, agent in agents.items()}
    ports = count(_FIRST_PORT)
    grounds: dict[str, dict[str, Subject]] = {}
    for title, at, host in ((LOOPBACK, _on_loopback, HOST), (PODS, _between_pods, str(NODE_V4.ip))):
        direct = at(plain, None)
        server = (direct.route.host, direct.route.port)
        ground = _Ground(
            direct.route.client,
            server,
            direct.groups[SERVER],
            plain.node.host,
            host,
            plain.node.directory / title.replace(" ", "-"),
        )
        roads = {name: at(side, pids[name]) for name, side in sides.items()}
        addressed = _addressed(ground, lambda: next(ports), progress)
        grounds[title] = {DIRECT: direct, **roads, **addressed}
    rules = {
        name: {
            rules: _on_loopback(sides[name], pids[name], port)
            for rules, port in PORT_OF_RULES.items()
        }
        for name in (KERNEL, TRANSPARENT)
    }
    return Stage(grounds, rules, agents)


def _on_loopback(side: Side, proxy: int | None, port: int = kernel_stage.PORT) -> Subject:
    return Subject(Route(side.service_client, HOST, port), _groups(side.service_server, proxy))


def _between_pods(side: Side, proxy: int | None) -> Subject:
    route = Route(side.pod_client, side.pod_users.ip, kernel_stage.POD_PORT)
    return Subject(route, _groups(side.pod_server, proxy))


def _groups(server: servers.Server, proxy: int | None) -> dict[str, int]:
    return {SERVER: server.process.pid} | ({PROXY: proxy} if proxy else {})


def _addressed(ground: _Ground, port: Callable[[], int], progress: Progress) -> dict[str, Subject]:
    """What clients must address, in front of the ground's server."""
    ground.directory.mkdir()
    place, to = ground.place, ground.server
    listens = {name: (ground.host, port()) for name in ADDRESSED}

    def folder(name: str) -> Path:
        return ground.directory / name.replace(" ", "-")

    agent = subjects.userspace(place, folder(USERSPACE), listens[USERSPACE], to)
    agent.start()
    envoy, mitmdump = peers.install("envoy", progress), peers.install("mitmdump", progress)
    pids = {
        USERSPACE: _pid(agent),
        ENVOY: peers.start_envoy(envoy, place, folder(ENVOY), listens[ENVOY], to).pid,
        HAPROXY: peers.start_haproxy(place, folder(HAPROXY), listens[HAPROXY], to).pid,
        NGINX: peers.start_nginx_proxy(place, folder(NGINX), listens[NGINX], to).pid,
        MITMPROXY: peers.start_mitmproxy(
            mitmdump, place, folder(MITMPROXY), listens[MITMPROXY], to
        ).pid,
    }
    return {
        name: Subject(Route(ground.client, *listens[name]), {SERVER: ground.server_pid, PROXY: pid})
        for name, pid in pids.items()
    }


def _pid(agent: Agent) -> int:
    assert agent.process is not None
    return agent.process.pid
