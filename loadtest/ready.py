"""From ``l7proxy run`` to an agent that serves."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from l7proxy.demo.agents import Agent
from loadtest import subjects
from loadtest.found import Found
from loadtest.progress import Progress
from loadtest.rounds import Aim, Claim, interleave

MAX_SECONDS = 3.0


def expected(rounds: int, *, ebpf: bool) -> int:
    """How many measurements are made."""
    return rounds * (2 if ebpf else 1)


def measure(rounds: int, progress: Progress, *, ebpf: bool) -> Found:
    """Seconds from starting the command to the first good answer about its status."""
    with ExitStack() as stack:
        agents = {"run to ready, userspace": stack.enter_context(subjects.alone()).agent}
        if ebpf:
            agents["run to ready, eBPF"] = stack.enter_context(subjects.pods("bench-ready")).agent
        found = interleave(
            {name: partial(_start, agent) for name, agent in agents.items()},
            rounds,
            "s",
            progress,
        )
    claims = [Claim(series, Aim(MAX_SECONDS, at_least=False)) for series in found.values()]
    return Found(list(found.values()), claims)


def _start(agent: Agent) -> float:
    """Start on a clean kernel, then leave it clean again."""
    seconds = agent.start()
    agent.stop()
    if agent.settings["datapath"] == "ebpf":
        agent.command("unload", "-c", str(agent.config))
    return seconds
