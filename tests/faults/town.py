"""A server with an agent, and clients that judge what they get on each way to it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from l7proxy.demo import namespaces, servers
from l7proxy.demo.agents import Agent
from l7proxy.demo.places import Place, stop
from l7proxy.demo.pods import Node
from tests.faults.relay import Weather, command
from tests.faults.samples import Samples, parsed, total
from tests.support.policies import server_policy
from tests.support.waiting import eventually

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
KERNEL_PORT, PROXY_PORT = 8000, 8001
METRICS = "127.0.0.1", 9965
PATIENCE = 30.0
RELAY = "203.0.113.1", "203.0.113.2"
Json = dict[str, Any]


class Town:
    """``near`` and ``far`` take the kernel road, ``distant`` too, behind a relay, and ``proxy``
    the other one."""

    def __init__(self, node: Node) -> None:
        pod = node.add_pod("server", {"app": "server"})
        self.host = pod.ip
        self.node = node
        self.near: Place = node.add_pod("near", {"app": "near"})
        self.far: Place = node.outside
        self.distant = Place("distant", netns=f"{node.id}.distant", cgroup=node.outside.cgroup)
        self.clients: Mapping[str, tuple[Place, int]] = {
            "near": (self.near, KERNEL_PORT),
            "far": (self.far, KERNEL_PORT),
            "distant": (self.distant, KERNEL_PORT),
            "proxy": (self.near, PROXY_PORT),
        }
        self.policies = node.directory / "policies"
        self.write_policy("rules")
        node.write_workloads()
        self._came = node.directory / "came"
        self._relay = self._start_relay()
        argv = [sys.executable, "-I", "-S", str(FOLDER / "server.py"), self.host, str(self._came)]
        argv += [str(KERNEL_PORT), str(PROXY_PORT)]
        errors = node.directory / "server.err"
        with errors.open("wb") as stream:
            self.server: subprocess.Popen[Any] = pod.popen(argv, stdout=stream, stderr=stream)
        where = [(self.host, KERNEL_PORT), (self.host, PROXY_PORT)]
        servers.wait_ready(pod, self.server, where, errors)
        self._config = node.directory / "l7proxy.yaml"
        self.configure()
        self.agent = Agent(node.agent, self._config)
        self.agent.start()

    def configure(self, **limits: float) -> None:
        """What the agent reads at its next start."""
        settings = self.node.config(
            metrics={"listen": ":".join(map(str, METRICS))}, access_log="off", limits=limits
        )
        self._config.write_text(yaml.safe_dump(settings))

    @contextlib.contextmanager
    def agent_with(
        self, environment: Mapping[str, str] | None = None, **limits: float
    ) -> Iterator[None]:
        """Another agent for as long as the block."""
        self.agent.stop()
        self.agent.environment = dict(environment or {})
        self.configure(**limits)
        self.agent.start()
        try:
            yield
        finally:
            self.agent.stop()
            self.agent.environment = {}
            self.configure()
            self.agent.start()

    def write_policy(self, name: str) -> None:
        """Rules with this name that all mean the same."""
        rules: Json = {"http": [{"name": name, "path": "/ok/.*"}]}
        policy = server_policy({KERNEL_PORT: rules, PROXY_PORT: rules | {"datapath": "proxy"}})
        fresh = self.policies / "server.new"
        fresh.write_text(yaml.safe_dump(policy))
        fresh.replace(self.policies / "server.yaml")

    def unapproved(self) -> list[str]:
        """Targets that reached the server although policy refuses them, since the last call."""
        found = self._came.read_text().splitlines() if self._came.exists() else []
        self._came.unlink(missing_ok=True)
        return found

    def pins(self) -> Path:
        """The folder of the build that is in force."""
        build: str = self.agent.admin("/status")["datapath"]["build"]
        return self.node.bpffs / "l7proxy" / build

    def workers(self) -> list[int]:
        """Their process ids."""
        status = self.agent.admin("/status")
        return [each["pid"] for each in (status or {"workers": ()})["workers"] if each["ready"]]

    def scrape(self) -> Samples | None:
        """None while the agent does not answer."""
        answer = self.node.agent.http("GET", *METRICS, "/metrics", timeout=1.0)
        return parsed(answer.body.decode()) if answer.status == 200 else None

    def metric(self, name: str) -> float:
        """The sum of its samples."""
        samples: Samples = eventually(self.scrape, PATIENCE)
        return total(name).value(samples)

    def weather(self, weather: Weather) -> None:
        """On the way of the distant client."""
        assert self._relay.stdin is not None
        self._relay.stdin.write(command(weather))
        self._relay.stdin.flush()

    @contextlib.contextmanager
    def load(self) -> Iterator[Load]:
        """Clients on every way for as long as the block; what they say is there behind it."""
        running = {}
        for name, (place, port) in self.clients.items():
            argv = [sys.executable, "-I", "-S", str(FOLDER / "client.py"), self.host, str(port)]
            running[name] = place.popen(argv, stdout=subprocess.PIPE, text=True)
        load = Load(running)
        try:
            load.begin()
            yield load
        finally:
            load.end()

    def _start_relay(self) -> subprocess.Popen[str]:
        distant = str(self.distant.netns)
        namespaces.create(distant)
        process: subprocess.Popen[str] = Place("relay", cgroup=self.node.outside.cgroup).popen(
            [sys.executable, "-m", "tests.faults.relay", self.node.netns, distant],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for namespace, address in zip((self.node.netns, distant), RELAY, strict=True):
            up = [f"addr add {address}/24 dev relay", "link set relay up"]
            namespaces.batch(namespace, up)
        namespaces.batch(distant, [f"route add default via {RELAY[0]}"])
        return process

    def close(self) -> None:
        """Ends what the node does not end."""
        if self.agent.process is not None:
            self.agent.process.send_signal(signal.SIGCONT)
            stop(self.agent.process)
        self.server.send_signal(signal.SIGCONT)
        self.distant.close()
        stop(self._relay)
        namespaces.delete(str(self.distant.netns))


class Load:
    """Clients that ask without end; ``said`` is what they counted, once they have ended."""

    def __init__(self, running: Mapping[str, subprocess.Popen[str]]) -> None:
        self.said: dict[str, Json] = {}
        self._running = running

    def begin(self) -> None:
        """All of them ask."""
        for process in self._running.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"

    def mark(self) -> None:
        """This is the moment at which requests in flight are counted."""
        for process in self._running.values():
            process.send_signal(signal.SIGUSR1)

    def end(self) -> None:
        """Stop them, and take down what they say."""
        for process in self._running.values():
            process.terminate()
        for name, process in self._running.items():
            output, _ = process.communicate(timeout=PATIENCE)
            if output:
                self.said[name] = json.loads(output)


@contextlib.contextmanager
def town() -> Iterator[Town]:
    """Ends everything that it has started."""
    with Node("faults") as node:
        made = Town(node)
        try:
            yield made
        finally:
            made.close()
