"""``l7proxy demo``: a policy, a few pods and the requests between them, shown and checked."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console

from l7proxy.demo import abilities, stages, table
from l7proxy.demo.agents import AgentError
from l7proxy.demo.cgroups import CgroupError
from l7proxy.demo.namespaces import NamespaceError
from l7proxy.demo.play import Played, play
from l7proxy.demo.scenario import ROWS
from l7proxy.demo.servers import ServerError
from l7proxy.demo.stages import Stage

FAILED, INTERRUPTED = 1, 130
ROADS = ("splice", "proxy", "refused")


def run(*, hold: bool = False, userspace: bool = False) -> int:
    """Run the demo; the exit code is 0 only if every row came out as the policy says.

    ``hold`` leaves everything running until Ctrl-C. ``userspace`` does without eBPF even where
    it works.
    """
    screen = table.console()
    lacking = "asked for" if userspace else abilities.lacking()
    if lacking:
        screen.print(
            f"Userspace mode, with Python's http.server in place of nginx: {lacking}",
            markup=False,
            soft_wrap=True,
        )
    begin = time.monotonic()
    try:
        with _terminated_like_interrupted():
            played = _show(screen, userspace=bool(lacking), hold=hold)
    except KeyboardInterrupt:
        screen.print("interrupted; everything is cleaned up")
        return INTERRUPTED
    except (AgentError, CgroupError, NamespaceError, ServerError, OSError) as error:
        screen.print(f"l7proxy demo: {error}", style="red", markup=False, soft_wrap=True)
        return FAILED
    wrong = sum(not each.good for each in played)
    verdict = f"{wrong} rows are wrong" if wrong else "every row is as the policy says"
    screen.print(
        f"{len(played)} requests, {verdict}; everything is cleaned up "
        f"({time.monotonic() - begin:.1f} s)",
        style="bold red" if wrong else "bold green",
    )
    return FAILED if wrong else 0


def _show(screen: Console, *, userspace: bool, hold: bool) -> list[Played]:
    played: list[Played] = []
    with contextlib.ExitStack() as stack:
        with table.progress(screen) as progress:
            stage = stack.enter_context(
                stages.userspace(progress) if userspace else stages.pods(progress)
            )
        table.show_stage(screen, stage)
        requests = table.Requests(screen, ROWS)
        requests.begin()
        for each in play(stage, ROWS):
            played.append(each)
            requests.add(each)
        screen.print()
        _show_counters(screen, stage)
        _show_ways_on(screen, stage, hold=hold)
        if hold:
            _wait_for_interrupt()
    return played


def _show_counters(screen: Console, stage: Stage) -> None:
    host, port = stage.metrics.removeprefix("http://").partition("/")[0].rsplit(":", 1)
    scraped = stage.watcher.http("GET", host, int(port), "/metrics").body.decode()
    short_circuited = _metric(scraped, "l7proxy_short_circuited_bytes_total")
    if stage.mode == "ebpf":
        screen.print(f"Short-circuited in the kernel, socket to socket: {short_circuited:,} bytes")
    counted = (_metric(scraped, f'l7proxy_connections_total{{road="{road}"}}') for road in ROADS)
    roads = ", ".join(f"{road} {count}" for road, count in zip(ROADS, counted, strict=True))
    screen.print(f"Connections by road: {roads}")
    where = " in the node's namespace" if stage.mode == "ebpf" else ""
    screen.print(f"Metrics: {stage.metrics}{where}", soft_wrap=True)


def _metric(scraped: str, name: str) -> int:
    found = re.search(rf"^{re.escape(name)} (\S+)$", scraped, re.MULTILINE)
    return int(float(found[1])) if found else 0


def _show_ways_on(screen: Console, stage: Stage, *, hold: bool) -> None:
    l7proxy = _command()
    lines = ["Go on:"]
    if hold:
        host, port = stage.endpoints["users"]
        source = stage.sources.get("frontend")
        curl = f"curl -i {f'--interface {source} ' if source else ''}http://{host}:{port}/users"
        lines += [
            f"  {stage.enter}{curl}",
            f"  {l7proxy} observe -f -c {stage.agent.config}    every request, as it comes",
            f"  {l7proxy} ui -c {stage.agent.config}    a live map in the browser",
            f"  {l7proxy} status -c {stage.agent.config}",
            f"  edit {stage.policy}: the next request is decided by it",
            "  Ctrl-C ends the demo and removes everything",
        ]
    else:
        lines += [
            f"  {l7proxy} demo --hold    leaves the pods running, to play with and to watch:",
            f"  {l7proxy} observe -f     every request as it comes, and the rule that decided",
            f"  {l7proxy} ui             a live map of them in the browser",
            "  monitoring/              what Prometheus and Grafana read of the metrics",
            f"  {l7proxy} doctor         what this machine offers and lacks",
            f"  {l7proxy} --help         everything else",
        ]
    screen.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _command() -> str:
    """What a person types for ``l7proxy`` here: after ``make demo`` it is not on the PATH."""
    beside = Path(sys.executable).with_name("l7proxy")
    if shutil.which("l7proxy") or not beside.exists():
        return "l7proxy"
    here = Path.cwd()
    return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)


def _wait_for_interrupt() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does, with everything cleaned up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
