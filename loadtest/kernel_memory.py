"""What idle connections cost where the kernel polices them: the kernel's memory and the agent's.

The direct connections are opened first and held, so that the policed ones find no memory that
the others have left in the kernel's caches. Other processes of the machine disturb: the figures
are differences of what the whole kernel uses.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from l7proxy.datapath import libbpf
from l7proxy.demo.agents import Agent
from loadtest import kernel_rules, kernel_stage, processes
from loadtest.answers import AnswerError
from loadtest.kernel_stage import HOST, Side, Stage
from loadtest.progress import Progress
from loadtest.rounds import Series

CLIENT = Path(__file__).with_name("idle_client.py")
FIRST = 50
"""Connections that make everyone load what is needed for any."""
SETTLE_SECONDS = 1.0
CLOSE_SECONDS = 60.0
EXPECTED = 2
"""How many measurements are made."""
KERNEL_KEYS = ("Slab", "VmallocUsed", "Percpu")


def measure(stage: Stage, connections: int, progress: Progress) -> list[Series]:
    """Bytes for each of ``connections`` connections that made one request and fell silent."""
    with _held(stage.direct, FIRST), _held(stage.covered, FIRST):
        start = _meminfo()
        progress(f"{connections} idle connections, direct")
        with _held(stage.direct, connections):
            middle = _meminfo()
            maps, agent = map_bytes(stage.agent), processes.memory(stage.agent_pid)
            progress.measured()
            progress(f"{connections} idle connections, policed")
            with _held(stage.covered, connections):
                end = _meminfo()
                maps_end, agent_end = map_bytes(stage.agent), processes.memory(stage.agent_pid)
                progress.measured()

    def each(title: str, difference: float) -> Series:
        return Series(f"idle connection, {title}", "bytes", (difference / connections,))

    direct = {key: middle[key] - start[key] for key in start}
    policed = {key: end[key] - middle[key] for key in start}
    in_kernel = sum(direct[key] for key in KERNEL_KEYS), sum(policed[key] for key in KERNEL_KEYS)
    return [
        each("kernel's memory: direct", in_kernel[0]),
        each("kernel's memory: kernel", in_kernel[1]),
        each("kernel's memory: kernel less direct", in_kernel[1] - in_kernel[0]),
        # What a client and a server need is in these too.
        each("memory no longer available: direct", -direct["MemAvailable"]),
        each("memory no longer available: kernel", -policed["MemAvailable"]),
        each("growth of pinned eBPF maps", maps_end - maps),
        each("agent and worker", agent_end - agent),
        Series("pinned eBPF maps, all", "bytes", (float(maps),)),
    ]


@contextmanager
def _held(side: Side, count: int) -> Iterator[None]:
    """So many connections over the node's loopback are open. Raises AnswerError."""
    argv = [sys.executable, "-I", "-S", str(CLIENT), HOST, str(kernel_stage.PORT)]
    argv += [kernel_rules.TARGET, str(count)]
    pipe = subprocess.PIPE
    process = side.service_client.popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        if process.stdout.readline().strip() != "open":
            said = process.stderr.read().strip().splitlines() or ["it said nothing"]
            raise AnswerError(f"{count} idle connections: {said[-1]}")
        time.sleep(SETTLE_SECONDS)
        yield
    finally:
        process.stdin.close()
        process.wait(CLOSE_SECONDS)


def _meminfo() -> dict[str, int]:
    """Bytes by name."""
    found = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in (*KERNEL_KEYS, "MemAvailable"):
            found[name] = int(value.split()[0]) * 1024
    return found


def map_bytes(agent: Agent) -> int:
    """Bytes of the maps that the agent has pinned, as the kernel states them."""
    total = 0
    folder = Path(agent.settings["bpffs"])
    for pin in sorted(path for path in folder.rglob("*") if path.is_file()):
        descriptor = libbpf.obj_get(pin)
        try:
            info = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
        finally:
            os.close(descriptor)
        fields = dict(line.split(":\t", 1) for line in info if ":\t" in line)
        if "map_id" in fields or "map_type" in fields:
            total += int(fields.get("memlock", 0))
    return total
