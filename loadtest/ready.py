"""From ``l7proxy run`` to an agent that serves."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from l7proxy.demo.agents import Agent
from loadtest import subjects
from loadtest.found import Found
from loadtest.progress import Progress
from loadtest.rounds import Aim, Claim, interleave

MAX_SECONDS = 3.0


def expected(rounds: int, *, ebpf: bool) -> int:
    """How many measurements are made."""
    return rounds * (3 if ebpf else 1)


def measure(rounds: int, progress: Progress, *, ebpf: bool) -> Found:
    """Seconds from starting the command to the first good answer about its status; with eBPF also
    where an earlier agent has compiled the programs, as after a restart of the node."""
    with ExitStack() as stack:
        cases = {
            "run to ready, userspace": partial(_start, stack.enter_context(subjects.alone()).agent)
        }
        if ebpf:
            agent = stack.enter_context(subjects.pods("bench-ready")).agent
            cases["run to ready, eBPF, first"] = partial(_start, agent)
            cases["run to ready, eBPF, again"] = partial(_start_again, agent)
        found = interleave(cases, rounds, "s", progress)
    claims = [Claim(series, Aim(MAX_SECONDS, at_least=False)) for series in found.values()]
    return Found(list(found.values()), claims)


def _start(agent: Agent) -> float:
    """Start where no agent was before, then leave nothing."""
    seconds = agent.start()
    agent.stop()
    if agent.settings["datapath"] == "ebpf":
        agent.command("unload", "-c", str(agent.config))
    return seconds


def _start_again(agent: Agent) -> float:
    """The same with nothing in the kernel, but what was compiled still there."""
    cache = Path(agent.settings["cache"])
    kept = cache.with_name("kept")
    agent.start()
    shutil.copytree(cache, kept)
    agent.stop()
    agent.command("unload", "-c", str(agent.config))
    kept.rename(cache)
    return _start(agent)
