"""Agents for the tests of this folder: real processes in userspace mode, on ports of their own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from l7proxy.cli import admin
from l7proxy.cli.errors import CommandError
from tests.support import waiting

FRONTEND = "127.0.0.2"
INTRUDER = "127.0.0.3"
PATIENCE = 30.0


def eventually(holds: Callable[[], Any]) -> Any:
    """Ask until the answer is true. Only what has no event of its own to wait for is asked."""
    return waiting.eventually(holds, PATIENCE)


class Backend:
    """An HTTP server that answers its own request back, and remembers what came."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        self.holding = threading.Event()
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                backend.seen.append(self.path)
                if not backend.hold.is_set():
                    backend.holding.set()
                    backend.hold.wait(PATIENCE)
                body = f"{self.command} {self.path}".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - the name is http.server's

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A proxy that was killed is no news here."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def __enter__(self) -> Backend:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Node:
    """A folder with a configuration, and the agent that runs on it."""

    def __init__(
        self,
        folder: Path,
        backend: Backend,
        workers: int = 1,
        ulimit: str = "",
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.ulimit = ulimit
        self.backend = backend
        self.policies = folder / "policies"
        self.policies.mkdir()
        self.config = folder / "l7proxy.yaml"
        self.config.write_text(
            yaml.safe_dump(
                {
                    "node": "test-node",
                    "datapath": "userspace",
                    "state": str(folder / "run"),
                    "proxy": {
                        "workers": workers,
                        "listen": [
                            {
                                "address": "127.0.0.1:0",
                                "to": f"127.0.0.1:{backend.port}",
                                "workload": "users",
                            }
                        ],
                    },
                    "metrics": {"listen": "127.0.0.1:0"},
                    **settings,
                }
            )
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.write_workloads({"users": "10.9.9.9", "frontend": FRONTEND, "intruder": INTRUDER})
        self.allow("/users")

    def write_workloads(self, pods: dict[str, str]) -> None:
        documents = [
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
                "status": {"podIP": address},
            }
            for name, address in pods.items()
        ]
        self.replace(self.folder / "workloads.yaml", yaml.safe_dump_all(documents))

    def policy(self, *paths: str, client: str = "frontend") -> str:
        """A policy that lets ``client`` GET just these paths."""
        return yaml.safe_dump(
            {
                "apiVersion": "l7proxy.io/v1alpha1",
                "kind": "L7Policy",
                "metadata": {"name": "users-api"},
                "spec": {
                    "endpointSelector": {"matchLabels": {"app": "users"}},
                    "ingress": [
                        {
                            "fromEndpoints": [{"matchLabels": {"app": client}}],
                            "toPorts": [
                                {
                                    "ports": [{"port": str(self.backend.port), "protocol": "TCP"}],
                                    "rules": {
                                        "http": [
                                            {"method": "GET", "path": path, "name": f"get-{at}"}
                                            for at, path in enumerate(paths)
                                        ]
                                    },
                                }
                            ],
                        }
                    ],
                },
            }
        )

    def allow(self, *paths: str) -> None:
        """Write the policy in place, as a careless editor does."""
        (self.policies / "users.yaml").write_text(self.policy(*paths))

    @staticmethod
    def replace(path: Path, text: str) -> None:
        """Write beside and rename, as a careful editor does."""
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(text)
        fresh.replace(path)

    def start(self) -> Node:
        """Start the agent and wait until it answers."""
        self.spawn()
        eventually(self.answers)
        return self

    def spawn(self) -> None:
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            self.spawn_into(out, err)

    def spawn_into(self, out: Any, err: Any) -> None:
        """Start the agent with its output going to these files."""
        command = [sys.executable, "-m", "l7proxy", "run", "-c", str(self.config)]
        if self.ulimit:
            command = ["/bin/sh", "-c", f'ulimit {self.ulimit} && exec "$@"', "sh", *command]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.errors()
        try:
            self.status()
        except CommandError:
            return False
        return True

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = admin.ask(self.folder / "run" / "admin.sock", "/status")
        return document

    @property
    def revision(self) -> int:
        return int(self.status()["policy"]["revision"])

    def in_force(self, revision: int) -> None:
        """Wait until a revision is in force."""
        eventually(lambda: self.revision == revision)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def worker_pids(self) -> list[int]:
        return [worker["pid"] for worker in self.status()["workers"]]

    def connect(self, source: str = FRONTEND) -> http.client.HTTPConnection:
        """A connection to the listener, from an address of this node's loopback."""
        host, _, port = self.status()["listeners"][0].rpartition(":")
        return http.client.HTTPConnection(host, int(port), PATIENCE, source_address=(source, 0))

    def get(self, path: str, source: str = FRONTEND) -> int:
        """The status that a GET on a new connection is answered with."""
        with contextlib.closing(self.connect(source)) as connection:
            return get(connection, path)

    def errors(self) -> str:
        return (self.folder / "err").read_text()

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line)["flow"] for line in (self.folder / "out").read_text().splitlines()]

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample of a scrape, by name and labels."""
        host, _, port = self.status()["metrics"].rpartition(":")
        with contextlib.closing(http.client.HTTPConnection(host, int(port), PATIENCE)) as asking:
            asking.request("GET", "/metrics")
            text = asking.getresponse().read().decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples that have at least these labels."""
        wanted = labels.items()
        return sum(
            value
            for (found, having), value in self.metrics().items()
            if found == name and wanted <= dict(having).items()
        )


def get(connection: http.client.HTTPConnection, path: str) -> int:
    """The status of a GET; the body is read, so that the connection can be used again."""
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status


def gone(pid: int) -> bool:
    """Whether no process runs under ``pid``; one that waits to be reaped does not run."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


@contextlib.contextmanager
def running(node: Node) -> Iterator[Node]:
    """The node's agent, ended in the end however the test went."""
    try:
        yield node.start()
    finally:
        if node.process is not None and node.process.poll() is None:
            node.process.kill()
            node.process.wait()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
