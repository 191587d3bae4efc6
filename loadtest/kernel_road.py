"""HTTP rules that the kernel decides: against direct connections and against other proxies.

Two nodes alike stand side by side, one with an agent and one without, as in ``splice_road``. Who
answers what is verified before anything is measured, and whether the road is the kernel's at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from l7proxy.demo.agents import Agent
from loadtest import idle, kernel_memory, kernel_stage
from loadtest.found import Found
from loadtest.kernel_cases import BUILDERS, DIRECT, KERNEL, PROBES, Case
from loadtest.kernel_stage import Stage
from loadtest.probes import Requests
from loadtest.progress import Progress
from loadtest.rounds import OF_MEDIANS, Claim, Measure, Series, interleave, ratio, ratio_of_medians

MEMORY = "memory"
TITLES = (*BUILDERS, MEMORY)
PROXY_CONNECTIONS = 5000
"""Idle connections where they go through the one worker, which cannot hold many more."""

Say = Callable[[str], None]


def expected(rounds: int, only: str = "") -> int:
    """How many measurements are made."""
    chosen = _chosen(only)
    probes = PROBES * sum(title in BUILDERS for title in chosen)
    return rounds * probes + (kernel_memory.EXPECTED if MEMORY in chosen else 0)


def measure(
    rounds: int,
    seconds: float,
    progress: Progress,
    warn: Say,
    *,
    connections: int = idle.CONNECTIONS,
    only: str = "",
) -> Found:
    """Every case whose title the regular expression ``only`` is found in."""
    chosen = _chosen(only)
    # Inherited by the servers, which hold one end of every idle connection.
    idle.allow_descriptors(connections + 1000)
    with kernel_stage.stage() as stage:
        off_road = kernel_stage.not_kernel(stage.agent)
        cases = {title: BUILDERS[title](stage, progress) for title in chosen if title in BUILDERS}
        for title, case in cases.items():
            progress(f"checking and warming up: {title}")
            for check in case.checks:
                check()
            for probe in case.probes.values():
                probe.warm(seconds)
        is_kernel = not _look_at_the_road(stage.agent, off_road, warn)
        series, claims = _measured(cases, rounds, seconds, progress)
        if MEMORY in chosen:
            count = connections if is_kernel else min(connections, PROXY_CONNECTIONS)
            series += _memory(stage, count, progress, warn)
        _look_at_the_end(stage, warn)
    return Found(series, claims)


def _chosen(only: str) -> list[str]:
    return [title for title in TITLES if re.search(only, title)]


def _measured(
    cases: dict[str, Case], rounds: int, seconds: float, progress: Progress
) -> tuple[list[Series], list[Claim]]:
    series: list[Series] = []
    claims: list[Claim] = []
    measures: dict[str, Measure] = {
        f"{title}: {name}": partial(probe.measure, seconds)
        for title, case in cases.items()
        for name, probe in case.probes.items()
    }
    found = interleave(measures, rounds, "req/s", progress)
    for title, case in cases.items():
        rates = {name: replace(found[f"{title}: {name}"], unit=case.unit) for name in case.probes}
        series += rates.values()
        for above, below, aim in case.claims:
            compared = ratio(rates[above], rates[below])
            claims.append(Claim(replace(compared, name=f"{title}: {above} / {below}"), aim))
        more = _latencies(title, case), _processor(title, case)
        for these, those in more:
            series += these
            claims += those
    return series, claims


def _latencies(title: str, case: Case) -> tuple[list[Series], list[Claim]]:
    direct, kernel = case.probes.get(DIRECT), case.probes.get(KERNEL)
    if case.p99 is None or not isinstance(direct, Requests) or not isinstance(kernel, Requests):
        return [], []
    found = [
        Series(f"{title}, p99: {name}", "us", tuple(probe.p99))
        for name, probe in ((DIRECT, direct), (KERNEL, kernel))
    ]
    compared = ratio_of_medians(found[1], found[0])
    name = f"{title}, p99: {KERNEL} / {DIRECT}{OF_MEDIANS}"
    return found, [Claim(replace(compared, name=name), case.p99)]


def _processor(title: str, case: Case) -> tuple[list[Series], list[Claim]]:
    kernel = case.probes.get(KERNEL)
    if case.cpu is None or not isinstance(kernel, Requests):
        return [], []
    found = Series(f"{title}: CPU of l7proxy for 1,000 requests", "ms", tuple(kernel.cpu))
    return [found], [Claim(found, case.cpu)]


def _memory(stage: Stage, count: int, progress: Progress, warn: Say) -> list[Series]:
    found = kernel_memory.measure(stage, count, progress)
    if min(each.median for each in found[:2]) < 0:
        warn("others freed kernel memory meanwhile: what idle connections cost is not known")
    return found


def _look_at_the_road(agent: Agent, off_road: list[str], warn: Say) -> bool:
    """Whether connections went another road so far; every reason to think so is said loudly."""
    roads = agent.ask("status")["roads"]
    reasons = list(off_road)
    if not roads["kernel"] or roads["proxy"]:
        reasons.append(f"connections of the agent so far, by road: {roads}")
    if reasons:
        warn("NOT THE KERNEL ROAD: what is called kernel below went through the proxy")
    for reason in reasons:
        warn(reason)
    return bool(reasons)


def _look_at_the_end(stage: Stage, warn: Say) -> None:
    """An agent that was restarting its workers, or had errors, was no fair subject."""
    status = stage.agent.ask("status")
    restarts = sum(worker["restarts"] for worker in status["workers"])
    if restarts or status["last_error"]:
        warn(f"the agent was not well: {restarts} restarts, last error {status['last_error']}")
