"""Section ``peers``: each road, other proxies and none, with the same rule, in one run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from loadtest import idle, kernel_memory, peer_cases, peer_results, peer_stage, peers
from loadtest.found import Found
from loadtest.peer_cases import SWEEPS
from loadtest.peer_stage import LOOPBACK, PODS, Stage
from loadtest.probes import Metered, Silence
from loadtest.progress import Progress
from loadtest.rounds import Measure, Series, interleave

WHERE = (LOOPBACK, PODS)
SILENCE = "silence"
TITLES = (*WHERE, *SWEEPS, SILENCE)
BUSY_IN_SILENCE = "peers, all started and nothing sent: machine busy"

Say = Callable[[str], None]


def expected(rounds: int, only: str = "", *, ebpf: bool) -> int:
    """How many measurements are made."""
    count = 0
    for title in _chosen(only):
        if title in SWEEPS:
            count += len(SWEEPS[title].levels) * len(SWEEPS[title].taking_part(ebpf=ebpf))
        else:
            count += 1 if title == SILENCE else len(peer_stage.names(title, ebpf=ebpf))
    return rounds * count


def measure(
    rounds: int, seconds: float, progress: Progress, warn: Say, *, ebpf: bool, only: str = ""
) -> Found:
    """Every case whose title the regular expression ``only`` is found in."""
    # For wrk, the servers and the proxies, all of which inherit it.
    idle.allow_descriptors(2 * peers.MAX_CONNECTIONS + 1000)
    chosen = _chosen(only)
    with peer_stage.stage(progress, ebpf=ebpf) as stage:
        probes = _probes(stage, chosen, ebpf=ebpf)
        progress("checking and warming up: peers")
        for check in peer_cases.checks(stage):
            check()
        for by_series in probes.values():
            for probe in by_series.values():
                probe.warm(seconds)
        for line in stage.off_road():
            warn(line)
        measures: dict[str, Measure] = {
            name: partial(probe.measure, seconds)
            for by_series in probes.values()
            for name, probe in by_series.items()
        }
        if SILENCE in chosen:
            measures[BUSY_IN_SILENCE] = partial(Silence().measure, seconds)
        rates = interleave(measures, rounds, "req/s", progress)
        found = Found()
        for title, by_series in probes.items():
            if title in SWEEPS:
                found.add(peer_results.swept(SWEEPS[title], by_series, rates, ebpf=ebpf))
            else:
                found.add(peer_results.compared(title, by_series, rates))
        if SILENCE in chosen:
            found.series.append(replace(rates[BUSY_IN_SILENCE], unit="%"))
        found.series += _maps(stage)
    return found


def _chosen(only: str) -> list[str]:
    return [title for title in TITLES if re.search(only, title)]


def _probes(stage: Stage, chosen: list[str], *, ebpf: bool) -> dict[str, dict[str, Metered]]:
    """By title, and by the name of the series of their rates."""
    probes = {}
    for title in chosen:
        if title in SWEEPS:
            sweep = SWEEPS[title]
            probes[title] = {
                peer_results.rate_name(sweep.name(level), name): sweep.probe(stage, name, level)
                for level in sweep.levels
                for name in sweep.taking_part(ebpf=ebpf)
            }
        elif title in stage.grounds:
            probes[title] = {
                peer_results.rate_name(title, name): Metered(
                    subject.route.load(), subject.groups, peer_cases.LEAST.get(name, 0.0)
                )
                for name, subject in stage.grounds[title].items()
            }
    return {title: by_series for title, by_series in probes.items() if by_series}


def _maps(stage: Stage) -> list[Series]:
    """The kernel's memory that each agent has taken for its maps, whether it is used or not."""
    return [
        Series(
            f"peers, pinned eBPF maps: {name}", "bytes", (float(kernel_memory.map_bytes(agent)),)
        )
        for name, agent in stage.agents.items()
    ]
