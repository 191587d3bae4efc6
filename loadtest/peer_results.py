"""From the probes of the section of peers to what is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from loadtest.found import Comparison, Curves, Found, Row
from loadtest.peer_cases import AIMS, PAIRS, Sweep
from loadtest.peer_stage import LOOPBACK, PODS
from loadtest.probes import MACHINE, Metered
from loadtest.rounds import Aim, Claim, Series, ratio

FILES = {LOOPBACK: "peers-loopback.svg", PODS: "peers-pods.svg"}
LATENCIES = {"p50": "p50", "p99": "p99", "p99.9": "p999"}
"""Fields of wrk's result, by their names for people."""


def rate_name(title: str, name: str) -> str:
    """Of the series of a subject's rates in the case or at the level of that title."""
    return f"{_titled(title)}: {name}"


def compared(title: str, probes: Mapping[str, Metered], rates: Mapping[str, Series]) -> Found:
    """Subjects that made the same request, in a case of that title."""
    case = _titled(title)
    rows = {
        series.removeprefix(f"{case}: "): _row(case, rates[series], probe)
        for series, probe in probes.items()
    }
    claims = [
        _claim(case, (above, rows[above].rate), (below, rows[below].rate), AIMS[title].get(pair))
        for pair in PAIRS
        for above, below in (pair,)
        if above in rows and below in rows
    ]
    series = [each for row in rows.values() for each in row.series()]
    return Found(series, claims, [Comparison(FILES[title], f"A small GET, {title}", rows)])


def swept(
    sweep: Sweep, probes: Mapping[str, Metered], rates: Mapping[str, Series], *, ebpf: bool
) -> Found:
    """Subjects at each of the levels."""
    levels = {level: sweep.name(level) for level in sweep.levels}
    lines = {
        name: tuple(rates[rate_name(title, name)] for title in levels.values())
        for name in sweep.taking_part(ebpf=ebpf)
    }
    found = Found(curves=[Curves(sweep.file, sweep.title, sweep.axis, sweep.levels, lines)])
    for series, probe in probes.items():
        title, _, name = series.partition(": ")
        found.series += [
            rates[series],
            _latency(f"{title}, p99: {name}", probe, "p99"),
            _cpu(f"{title}, CPU of {MACHINE} for 1,000 requests: {name}", probe, MACHINE),
        ]
    for number, title in enumerate(levels.values()):
        found.claims += [
            _claim(title, (above, lines[above][number]), (below, lines[below][number]))
            for above, below in sweep.pairs
            if above in lines and below in lines
        ]
    first, *others = levels.values()
    for name, aim in sweep.first.items():
        rates_of = dict(zip(levels.values(), lines[name], strict=True))
        found.claims += [
            _claim(name, (other, rates_of[other]), (first, rates_of[first]), aim)
            for other in others
        ]
    return found


def _row(case: str, rate: Series, probe: Metered) -> Row:
    name = rate.name.removeprefix(f"{case}: ")
    latencies = {
        people: _latency(f"{case}, {people}: {name}", probe, field)
        for people, field in LATENCIES.items()
    }
    cpu = {
        group: _cpu(f"{case}, CPU of {group} for 1,000 requests: {name}", probe, group)
        for group in probe.cpu
    }
    memory = None
    if probe.memory:
        memory = Series(f"{case}, memory: {name}", "bytes", tuple(probe.memory))
    return Row(rate, latencies, cpu.pop(MACHINE), cpu, memory)


def _latency(name: str, probe: Metered, field: str) -> Series:
    return Series(name, "us", tuple(float(getattr(each, field)) for each in probe.results))


def _cpu(name: str, probe: Metered, group: str) -> Series:
    return Series(name, "ms", tuple(probe.cpu[group]))


def _claim(
    title: str, above: tuple[str, Series], below: tuple[str, Series], aim: Aim | None = None
) -> Claim:
    compared = ratio(above[1], below[1])
    return Claim(replace(compared, name=f"{title}: {above[0]} / {below[0]}"), aim)


def _titled(title: str) -> str:
    """Other sections have cases of the same titles."""
    return f"peers, {title}" if title in FILES else title
