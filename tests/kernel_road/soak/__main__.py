"""``python -m tests.kernel_road.soak --minutes 60``: the load, the changes of policy, the verdict.

The first minute is to warm up; memory is looked at every minute from there on. Exit code 1 if
anything was wrong: told in words the first times that a kind of client meets it, and counted.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from l7proxy.demo import abilities
from l7proxy.demo.pods import Node
from loadtest import processes
from tests.kernel_road.soak.child import Child
from tests.kernel_road.soak.kinds import KINDS
from tests.kernel_road.soak.measure import Gauges
from tests.kernel_road.soak.policy import RULES, Period
from tests.kernel_road.town import PORT, WAYS, Town

_SAMPLE = 60.0  # seconds
_CHANGE = 4.0
"""Seconds between changes of policy."""
_DRAIN = 90.0
"""Seconds after which nothing may be left of connections; the server's patience is in them."""
_SPARE = 600
"""Seconds for everything but the load, after which it is given up."""
_BUSY = 100
"""Percent of a processor that server and clients may use; at their pace they need a third."""
_COLUMNS = ("requests", "refused", "wrong", "excused", "lost")


class Soak:
    """``problems``: all that is wrong, in words."""

    def __init__(
        self, town: Town, period: Period, server: Child, clients: dict[str, Child]
    ) -> None:
        self.problems: list[str] = []
        self.changes = 0
        self._town = town
        self._period = period
        self._server = server
        self._clients = clients
        self._shown = 0

    def run(self, seconds: float, gauges: Gauges) -> None:
        """The load. Raises RuntimeError where a process is gone."""
        begin = time.monotonic()
        sample_at, change_at = begin + _SAMPLE, begin + _CHANGE
        while (now := time.monotonic()) < begin + seconds:
            for child in (self._server, *self._clients.values()):
                child.check()
            if now >= change_at:
                self._change()
                change_at = now + _CHANGE
            if now >= sample_at:
                self._progress((now - begin) / 60, gauges.sample())
                sample_at += _SAMPLE
            wanted = min(sample_at, change_at, begin + seconds, now + 1)
            time.sleep(max(0.0, wanted - time.monotonic()))
        self._progress(seconds / 60, gauges.sample())

    def drain(self, gauges: Gauges) -> None:
        """Waits until the maps are empty, the clients having gone."""
        begin = time.monotonic()
        while any(gauges.entries().values()):
            if time.monotonic() - begin > _DRAIN:
                self.problems.append(f"left in the maps after {_DRAIN:g} s: {gauges.entries()}")
                return
            time.sleep(0.5)
        print(f"maps empty {time.monotonic() - begin:.1f} s after the last client", flush=True)

    def totals(self) -> Counter[str]:
        """Of all clients' books."""
        total: Counter[str] = Counter()
        for child in self._clients.values():
            for each in child.latest["books"].values():
                total.update(each)
        return total

    def table(self) -> list[str]:
        """The clients' books, a line for each kind and way."""
        lines = [f"{'client':14}{'way':10}" + "".join(f"{name:>10}" for name in _COLUMNS)]
        for kind in KINDS:
            for way, child in self._clients.items():
                books = child.latest["books"][kind.name]
                numbers = "".join(f"{books[name]:10}" for name in _COLUMNS)
                lines.append(f"{kind.name:14}{way:10}{numbers}")
        return lines

    def judge(self, risen: dict[str, int]) -> None:
        """Adds what the books, the server and the kernel's counters say."""
        total, seen = self.totals(), self._server.latest
        for name in ("wrong", "lost"):
            if total[name]:
                self.problems.append(f"{total[name]} answers {name}")
        for name in ("denied", "garbled"):
            if seen[name]:
                self.problems.append(f"{len(seen[name])} {name} requests at the server")
                self.problems += [f"  {each!r}" for each in seen[name][:5]]
        if "not_judged" in risen or risen.get("connections_kernel", 0) < seen["connections"]:
            self.problems.append(f"not all of {seen['connections']} connections judged: {risen}")
        for name in ("requests_redirected", "answered_by_redirect", "answered_by_tcp"):
            if not risen.get(name):
                self.problems.append(f"the load is not what it should be: no {name}")

    def _change(self) -> None:
        count = self._period.advance()
        self._town.apply(RULES[(count + 1) // 2 % len(RULES)])
        self._period.advance()
        self.changes += 1

    def _progress(self, minutes: float, sample: dict[str, float]) -> None:
        total = self.totals()
        told = ", ".join(f"{name} {total[name]}" for name in _COLUMNS)
        memory = ", ".join(f"{name} {sample[name]:.0f}" for name in ("SUnreclaim", "exchanges"))
        print(f"{minutes:5.1f} min: {told}; {self.changes} changes; {memory}", flush=True)


def _tell_faults(report: dict[str, Any]) -> None:
    for fault in report["faults"]:
        print(f"WRONG {fault}", flush=True)


@contextlib.contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the block where it takes longer, whatever it waits for."""

    def give_up(number: int, frame: object) -> None:
        raise TimeoutError(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(int(seconds))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def soak(minutes: float) -> int:
    """The exit code."""
    with _bounded(60 * minutes + _SPARE), Node("soak") as node, contextlib.ExitStack() as stack:
        town = Town(node, RULES[0])
        path = node.directory / "period"
        period = stack.enter_context(Period.create(path))
        address = town.server.ip, str(PORT)
        with town.covered.counted() as risen:
            server = stack.enter_context(
                Child(town.server, "server", *address, heard=lambda report: None)
            )
            server.wait_for_report()
            clients = {
                way: stack.enter_context(_clients(town, way, path, *address)) for way in WAYS
            }
            for child in clients.values():
                child.wait_for_report()
            children = {"server": server, **clients}
            gauges = stack.enter_context(Gauges(town, [each.pid for each in children.values()]))
            done = Soak(town, period, server, clients)
            begin = time.monotonic()
            done.run(60 * minutes, gauges)
            load = (time.monotonic() - begin) / 100
            spent = {name: processes.cpu_seconds(each.pid) for name, each in children.items()}
            for child in clients.values():
                child.end()
            done.drain(gauges)
            server.end()
        done.judge(risen)
        town.covered.end()
    lines, growing = gauges.report()
    problems = done.problems + growing
    print("\n".join(["", *done.table(), "", *lines, ""]))
    busy = {name: seconds / load for name, seconds in spent.items()}
    if sum(busy.values()) > _BUSY:
        problems.append(f"the load takes {sum(busy.values()):.0f}% of a processor: does one spin?")
    shares = ", ".join(f"{name} {share:.0f}%" for name, share in busy.items())
    print(f"{done.changes} changes of policy; of a processor, {shares}")
    print(", ".join(f"{name} {count}" for name, count in sorted(risen.items())))
    print("\n".join(["", *(problems or ["nothing wrong"])]))
    return int(bool(problems))


def _clients(town: Town, way: str, path: Path, *address: str) -> Child:
    return Child(town.place(way), "clients", way, *address, str(path), heard=_tell_faults)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    arguments = parser.parse_args()
    problem = abilities.lacking_for_ebpf()
    if problem:
        sys.exit(f"eBPF cannot be used: {problem}")
    return soak(arguments.minutes)


if __name__ == "__main__":
    sys.exit(main())
