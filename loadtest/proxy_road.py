"""Requests through one worker of each proxy, against the same nginx, on one loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from l7proxy.demo import servers
from l7proxy.demo.agents import AgentError
from loadtest import peers, subjects
from loadtest.progress import Progress
from loadtest.rounds import Aim, Claim, Series, interleave, ratio
from loadtest.subjects import HOST
from loadtest.wrk import Load, rate

DIRECT, OURS, OTHER_ENVOY, OTHER_MITMPROXY = (
    "direct",
    "l7proxy userspace",
    "Envoy 1.40",
    "mitmproxy",
)
NOT_IN_THE_KERNEL = {"kernel_table_bytes": 1}
"""No rule fits into so little: the proxy decides them all."""
POD_DIRECT, POD_OURS = "pod to pod, direct", "pod to pod, l7proxy transparent"


def expected(rounds: int, *, ebpf: bool) -> int:
    """How many measurements are made."""
    return rounds * (6 if ebpf else 4)


def measure(
    rounds: int, seconds: float, progress: Progress, *, ebpf: bool
) -> tuple[list[Series], list[Claim]]:
    """Requests per second with 32 keep-alive connections and a small GET."""
    with ExitStack() as stack:
        loads = stack.enter_context(_loopback(progress))
        if ebpf:
            loads |= stack.enter_context(_pods())
        for load in loads.values():
            rate(load, min(seconds, 0.5))
        found = interleave(
            {name: partial(rate, load, seconds) for name, load in loads.items()},
            rounds,
            "req/s",
            progress,
        )
    claims = [
        Claim(ratio(found[OURS], found[OTHER_ENVOY]), Aim(0.5)),
        Claim(ratio(found[OURS], found[OTHER_MITMPROXY]), Aim(5.0)),
        Claim(ratio(found[OURS], found[DIRECT])),
    ]
    if ebpf:
        claims.append(Claim(ratio(found[POD_OURS], found[OTHER_ENVOY]), Aim(0.5)))
        claims.append(Claim(ratio(found[POD_OURS], found[POD_DIRECT])))
    return list(found.values()), claims


@contextmanager
def _loopback(progress: Progress) -> Iterator[dict[str, Load]]:
    """Every proxy in front of one nginx, all in this process's own namespace and cgroup."""
    with subjects.alone() as alone:
        place, folder, to = alone.place, alone.directory, alone.server
        envoy = (HOST, servers.free_port(HOST))
        peers.start_envoy(peers.install("envoy", progress), place, folder / "envoy", envoy, to)
        mitm = (HOST, servers.free_port(HOST))
        peers.start_mitmproxy(peers.install("mitmdump", progress), place, folder / "mitm", mitm, to)
        alone.agent.start()
        endpoints = {
            DIRECT: to,
            OURS: alone.listener,
            OTHER_ENVOY: envoy,
            OTHER_MITMPROXY: mitm,
        }
        yield {
            name: Load(place, f"http://{host}:{port}/users/7")
            for name, (host, port) in endpoints.items()
        }


@contextmanager
def _pods() -> Iterator[dict[str, Load]]:
    """The same small GET between pods: plainly, and through the transparent proxy."""
    with (
        subjects.pods("bench-direct") as plain,
        subjects.pods("bench-proxy", limits=NOT_IN_THE_KERNEL) as covered,
    ):
        covered.agent.start()
        yield {
            name: Load(pods.client, f"http://{pods.server.ip}:{subjects.POD_PORT}/users/7")
            for name, pods in ((POD_DIRECT, plain), (POD_OURS, covered))
        }
        roads = covered.agent.ask("status")["roads"]
        if roads["kernel"]:
            raise AgentError(f"{POD_OURS}: not through the proxy alone, but by road: {roads}")
