"""Clients on every way to a server, what they wrote down, and what the agent says of it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from l7proxy.demo import servers
from l7proxy.demo.agents import Agent
from l7proxy.demo.places import Place, stop
from l7proxy.demo.pods import Node
from tests.support.policies import server_policy
from tests.support.waiting import eventually

FOLDER = Path(__file__).parent
KERNEL_PORT, PROXY_PORT = 8000, 8001
PATIENCE = 60.0
RULES = [
    {"name": "read", "method": "GET|HEAD", "path": "/(ok|hang)/.*"},
    {"name": "write", "method": "POST", "path": "/(ok|hang)/.*"},
    {"name": "never", "path": "/no/.*7", "action": "block"},
]
Json = dict[str, Any]
Said = tuple[str, str, int | None]
"""Method, target and the status that the client got."""


@dataclass(frozen=True, slots=True)
class Way:
    """``name`` is also the client's; ``road`` is what its records must say."""

    name: str
    place: Place
    port: int
    road: str


class Watched:
    """A server with an agent, and one client for each way."""

    def __init__(self, node: Node, limits: Mapping[str, float]) -> None:
        self._server = node.add_pod("server", {"app": "server"})
        near = node.add_pod("near", {"app": "near"})
        self.ways = (
            Way("redirect", near, KERNEL_PORT, "kernel"),
            Way("tcp", node.outside, KERNEL_PORT, "kernel"),
            Way("proxy", near, PROXY_PORT, "proxy"),
        )
        policy = server_policy({way.port: _rules(way) for way in self.ways[1:]})
        (node.directory / "policies" / "server.yaml").write_text(yaml.safe_dump(policy))
        node.write_workloads()
        self.log = node.directory / "access.log"
        config = node.directory / "l7proxy.yaml"
        config.write_text(
            yaml.safe_dump(
                node.config(
                    access_log=str(self.log),
                    limits=dict(limits),
                    metrics={"listen": "127.0.0.1:9965"},
                )
            )
        )
        ports = [str(KERNEL_PORT), str(PROXY_PORT)]
        argv = [sys.executable, "-I", "-S", str(FOLDER / "server.py"), self._server.ip, *ports]
        error = node.directory / "server.err"
        with error.open("wb") as stream:
            process = self._server.popen(argv, stdout=stream, stderr=stream)
        where = [(self._server.ip, port) for port in (KERNEL_PORT, PROXY_PORT)]
        servers.wait_ready(self._server, process, where, error)
        self.agent = Agent(node.agent, config)
        self.agent.start()
        self._host = node.agent

    def load(self, count: int) -> list[tuple[Way, Said]]:
        """So many requests on each way, at the same time; what the clients say of them."""
        running = []
        for way in self.ways:
            argv = [sys.executable, "-I", "-S", str(FOLDER / "client.py"), self._server.ip]
            argv += [str(way.port), f"{way.name}", str(count), way.name]
            output = self.log.with_name(f"client-{way.name}")
            with output.open("wb") as stream:
                running.append((way, way.place.popen(argv, stdout=stream), output))
        found = []
        for way, process, output in running:
            assert process.wait(PATIENCE + count / 200) == 0, way
            lines = map(json.loads, output.read_text().splitlines())
            found += [(way, (method, target, status)) for method, target, status in lines]
        return found

    def records(self, count: int) -> list[Json]:
        """The access log, once it has so many lines; after PATIENCE what it has."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: self.log.read_bytes().count(b"\n") >= count, PATIENCE)
        return [json.loads(line)["flow"] for line in self.log.read_text().splitlines()]

    def metrics(self) -> Json:
        """Samples by name and labels."""
        answer = self._host.http("GET", "127.0.0.1", 9965, "/metrics")
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
        }


def _rules(way: Way) -> Json:
    return {"http": RULES} | ({"datapath": "proxy"} if way.road == "proxy" else {})


@contextlib.contextmanager
def watched(**limits: float) -> Iterator[Watched]:
    """Ends everything that it has started."""
    with Node("flows") as node:
        made = Watched(node, limits)
        try:
            yield made
        finally:
            assert made.agent.process is not None
            stop(made.agent.process)


def expected(road: str, said: Said) -> tuple[str, str, int | None, str, str, str | None]:
    """What the record of a request has to say: method, target, status, verdict, reason, rule."""
    method, target, status = said
    rule: str | None = "write" if method == "POST" else "read"
    if target.startswith("/no/"):
        blocked = target.endswith("7")
        reason = "rule-blocked" if blocked else "no-rule-matched"
        return method, target, status, "DROPPED", reason, "never" if blocked else None
    if target.startswith("/hang/"):
        reason = "unanswered" if road == "kernel" else "upstream-closed"
        return method, target, status, "ERROR", reason, rule
    return method, target, status, "FORWARDED", "rule-allowed", rule


def told(flow: Json) -> tuple[str, str, int | None, str, str, str | None]:
    """The same of a record."""
    http, known = flow["l7"]["http"], flow["extensions"]["value"]
    target = "/" + http["url"].split("/", 3)[3]
    return (
        http["method"], target, http.get("code"), flow["verdict"], known["reason"], known["rule"],
    )  # fmt: skip


def statuses(said: list[tuple[Way, Said]]) -> Counter[tuple[str, str]]:
    """By method and status; 0 for none."""
    return Counter((method, str(status or 0)) for _, (method, _, status) in said)


def counted(before: Json, after: Json) -> Counter[tuple[str, str]]:
    """The same, by hubble_http_requests_total."""
    found: Counter[tuple[str, str]] = Counter()
    for key, value in after.items():
        if key[0] == "hubble_http_requests_total" and value > before.get(key, 0):
            labels = dict(key[1:])
            found[labels["method"], labels["status"]] += int(value - before.get(key, 0))
    return found
