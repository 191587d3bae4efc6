"""A server whose requests the kernel decides, and a client on each of the two ways to it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from l7proxy.demo.places import Place
from l7proxy.demo.pods import Node, Pod
from tests.datapath.covered import PATIENCE, ROOT, Covered
from tests.kernel_road.recorder import Answer, Recorder, plain

PORT = 8000
PROGRAM = Path(__file__).with_name("attacks") / "run.py"
WAYS = ("redirect", "tcp")
"""A covered client, whose own socket has a program; one that is not covered, from far."""

RULES = '[{method: "GET|HEAD|POST|PUT", path: "/ok.*"}]'
POLICY = """
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: server}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEntities: [all]
    toPorts: [{ports: [{port: "8000", protocol: TCP}], rules: {%s}}]
"""
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
"""With it a request has the length of a real one: by TCP a refusal has its bytes, no more."""
GRACE = 1.0
"""Seconds that a refused client gets before its connection is reset."""


def get(target: str, method: str = "GET") -> bytes:
    """A request without content, with room for a whole refusal in its place."""
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\nUser-Agent: {AGENT}\r\n\r\n".encode()


class TendedCovered(Covered):
    """A driver that does an agent's regular work too."""

    def start(self) -> bool:
        self._process = self.node.agent.popen(
            [sys.executable, "-m", "tests.kernel_road.driver", str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        return bool(self.ask("open"))


class Town:
    """``server`` allows /ok... alone to everybody, ``client`` is covered, ``far`` is not."""

    def __init__(
        self,
        node: Node,
        rules: str | None = RULES,
        limits: Mapping[str, float] = MappingProxyType({}),
        **overrides: Any,
    ) -> None:
        """``rules`` None: no policy is applied yet. ``limits`` go before those of all tests."""
        self.node = node
        self.server: Pod = node.add_pod("server")
        self.client: Pod = node.add_pod("client")
        self.far: Place = node.outside
        self.covered = TendedCovered(node, limits=LIMITS | dict(limits), **overrides)
        self.covered.start()
        status = self.covered.ask("status")
        assert status["kernel_road"], status["kernel_road_lacks"]
        if rules is not None:
            self.apply(rules)

    def apply(self, rules: str) -> None:
        """These HTTP rules are in force when it returns."""
        self.covered.apply(POLICY % f"http: {rules}")

    def place(self, way: str) -> Place:
        """Where the client of a way is."""
        return self.client if way == "redirect" else self.far

    @contextlib.contextmanager
    def recorder(
        self,
        answer: Answer | None = plain,
        *,
        host: str = "",
        backlog: int = 128,
        accepting: bool = True,
        options: Iterable[tuple[int, int, int]] = (),
    ) -> Iterator[Recorder]:
        """The server, for as long as the block. Its connections must be judged in the kernel."""
        listener = self.server.listen(host or self.server.ip, PORT, backlog)
        for level, name, value in options:
            listener.setsockopt(level, name, value)
        recorder = Recorder(listener, answer)
        if not accepting:
            recorder.accepting.clear()
        with self.covered.counted() as risen, recorder:
            yield recorder
        assert risen.get("connections_kernel", 0) >= len(recorder.records), risen
        assert "not_judged" not in risen

    def connect(self, way: str, **options: Any) -> socket.socket:
        """A connection to the server from the client of a way."""
        return self.place(way).connect(self.server.ip, PORT, timeout=PATIENCE, **options)

    def unread(self) -> int:
        """Bytes that came to the server by TCP and were not read yet, of all its connections."""
        shown = self.server.run(["ss", "-tnH", "state", "established", f"sport = :{PORT}"])
        return sum(int(line.split()[0]) for line in shown.stdout.splitlines())

    def attack(self, way: str, name: str, **arguments: Any) -> Attack:
        """Starts one of ``attacks`` against the server."""
        return Attack(self.place(way), name, **{"host": self.server.ip, "port": PORT, **arguments})


LIMITS = {
    "namespaces": 12,
    "workloads": 256,
    "kernel_roads": 4096,
    "tracked_connections": 4096,
    "linger_timeout": GRACE,
}


class Attack:
    """A program of nobody's, without any privilege, that says what it does and waits for signs."""

    def __init__(self, place: Place, name: str, **arguments: Any) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = place.popen(
                [
                    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"),
                    *(
                        sys.executable,
                        "-I",
                        "-S",
                        str(Path(__file__).with_name("attacks") / "run.py"),
                    ),
                    *(str(theirs.fileno()), name, json.dumps(arguments)),
                ],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
                text=True,
            )
        self._control = ours
        self._control.settimeout(3 * PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._control.close()
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def heard(self) -> tuple[Any, list[int]]:
        """What it says next, and the descriptors that came along."""
        datagram, descriptors, _, _ = socket.recv_fds(self._control, 1 << 20, 4)
        if not datagram:
            assert self.process.stderr is not None
            raise AssertionError(f"the attack failed: {self.process.stderr.read()}")
        return json.loads(datagram), descriptors

    def says(self, word: str) -> None:
        """Waits until it says so."""
        assert self.heard()[0] == word

    def go(self, passed: Sequence[int] = ()) -> None:
        """Lets it go on, with these descriptors."""
        socket.send_fds(self._control, [b"go"], list(passed))

    def result(self) -> Any:
        """Its last word."""
        found, _ = self.heard()
        self.process.wait(PATIENCE)
        return found
