"""Bytes stay whole and in order while a connection moves between the short-circuit and TCP.

Seen to fail: with ``drained()`` in bpf/redirect.c returning 1, so that a connection comes back
from TCP while bytes are still under way there, the gibibyte and the slow network arrive with
bytes out of place.
"""

from __future__ import annotations

import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from l7proxy.demo.pods import Node, Pod
from tests.datapath.covered import PATIENCE, Covered, accepted

pytestmark = pytest.mark.needs_ebpf

GIB = 1 << 30
MIB = 1 << 20
BLOCK = random.Random(7).randbytes(8 * MIB + 13)
"""What every stream repeats: any two places less than a block apart differ."""
WIDE = memoryview(BLOCK + BLOCK[: 2 * MIB])
SIZES = (16, 1024, 65536, MIB)
"""Upper ends of the ranges that sizes are drawn from, all equally often."""
PAUSE = 0.005


@pytest.fixture(scope="module")
def covered(node: Node) -> Iterator[Covered]:
    for name in ("a", "b", "slow-a", "slow-b"):
        pod = node.add_pod(name)
        if name.startswith("slow"):
            slow_down(pod)
    made = Covered(node)
    made.start()
    made.apply("")
    yield made
    made.end()


def slow_down(pod: Pod) -> None:
    """Packets wait before they leave the pod, so that TCP's bytes are under way for a while."""
    shape = ["root", "tbf", "rate", "200mbit", "burst", "16kb", "latency", "50ms"]
    command = ["tc", "-n", str(pod.netns), "qdisc", "replace", "dev", "eth0", *shape]
    subprocess.run(command, check=True)


class Stream:
    """One direction of a connection: a writer of random sizes, a reader that stutters."""

    def __init__(self, writer: socket.socket, reader: socket.socket, size: int, seed: int) -> None:
        self._writer = writer
        self._reader = reader
        self._size = size
        self._seed = seed
        self._read = 0
        self._progress = threading.Condition()

    def write(self) -> None:
        """Now and then waits until all is read, so that a drained connection goes on."""
        chance = random.Random(self._seed)
        sent = 0
        while sent < self._size:
            size = min(chance.randint(1, chance.choice(SIZES)), self._size - sent)
            at = sent % len(BLOCK)
            self._writer.sendall(WIDE[at : at + size])
            sent += size
            if chance.random() < 0.02:
                with self._progress:
                    done = self._progress.wait_for(lambda sent=sent: self._read == sent, PATIENCE)
                assert done, f"{self._read} of {sent} bytes arrived"

    def read(self) -> None:
        """Compares as it reads; pauses at times so that the writer runs out of credit."""
        chance = random.Random(self._seed + 1)
        buffer = memoryview(bytearray(MIB))
        while self._read < self._size:
            size = self._reader.recv_into(buffer[: chance.randint(1, chance.choice(SIZES))])
            at = self._read % len(BLOCK)
            assert size, f"the stream ended after {self._read} bytes"
            if buffer[:size] != WIDE[at : at + size]:
                raise AssertionError(strange(bytes(buffer[:size]), self._read))
            with self._progress:
                self._read += size
                self._progress.notify_all()
            if chance.random() < 0.01:
                time.sleep(PAUSE)


def strange(data: bytes, place: int) -> str:
    """What is wrong with bytes that came at a place of the stream, and where they belong."""
    block = BLOCK + BLOCK[: 2 * MIB]
    at = place % len(BLOCK)
    good = next(i for i in range(len(data)) if data[i] != block[at + i])
    found = block.find(data[good : good + 16])
    belongs = f"belong {found - at - good} bytes on" if found >= 0 else "are of nowhere"
    return f"bytes from {place + good} on ({len(data) - good} in hand) {belongs}"


def connect(client: Pod, server: Pod, host: str) -> tuple[socket.socket, socket.socket]:
    with server.listen(host, 0) as listener:
        near = client.connect(host, listener.getsockname()[1])
        near.settimeout(PATIENCE)
        return near, accepted(listener)


def run(*jobs: Callable[[], object]) -> None:
    """All at once; the first failure is raised when all have ended."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(job) for job in jobs]:
            future.result(600)


def transfer(near: socket.socket, far: socket.socket, size: int) -> None:
    """``size`` bytes each way, at the same time."""
    with near, far:
        there, back = Stream(near, far, size, 1), Stream(far, near, size, 2)
        run(there.read, back.read, there.write, back.write)


def assert_both_ways_of_delivery(risen: dict[str, int]) -> None:
    """How much goes which way is a matter of the scheduler."""
    print(risen)
    assert risen["paired"] == 1
    assert risen["short_circuit_bytes"] > MIB
    assert risen["tcp_bytes"] > MIB
    assert risen["out_of_credit"] > 0


def assert_changes_of_way(risen: dict[str, int]) -> None:
    assert_both_ways_of_delivery(risen)
    assert risen["back_to_redirect"] > 0


def test_a_gibibyte_each_way_arrives_in_order(covered: Covered) -> None:
    a, b, *_ = covered.node.workloads
    with covered.counted() as risen:
        transfer(*connect(a, b, b.ip), GIB)
    assert_changes_of_way(risen)


def test_ip6_arrives_in_order(covered: Covered) -> None:
    a, b, *_ = covered.node.workloads
    with covered.counted() as risen:
        transfer(*connect(a, b, b.ip6), 64 * MIB)
    assert_changes_of_way(risen)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_loopback_arrives_in_order(covered: Covered, host: str) -> None:
    pod, *_ = covered.node.workloads
    with covered.counted() as risen:
        transfer(*connect(pod, pod, host), 64 * MIB)
    assert_changes_of_way(risen)


def test_slow_network_keeps_order(covered: Covered) -> None:
    _, _, a, b = covered.node.workloads
    with covered.counted() as risen:
        transfer(*connect(a, b, b.ip), 32 * MIB)
    assert_both_ways_of_delivery(risen)


LOW = bytes(range(128))
HIGH = bytes(range(128, 256))


@pytest.mark.parametrize("slow", [False, True])
def test_two_senders_on_one_socket_each_stay_in_order(covered: Covered, slow: bool) -> None:
    """Plain TCP may cut one thread's bytes anywhere to put another's between, but it keeps each
    thread's in order: one writes bytes below 128, the other the rest."""
    a, b = covered.node.workloads[2:] if slow else covered.node.workloads[:2]
    size = 32 * MIB
    own = {LOW: bytes(x & 127 for x in BLOCK), HIGH: bytes(x | 128 for x in BLOCK)}
    seen = {LOW: 0, HIGH: 0}
    progress = threading.Condition()

    def write(mine: bytes, seed: int) -> None:
        chance = random.Random(seed)
        view = memoryview(own[mine] + own[mine][: 2 * MIB])
        sent = 0
        while sent < size:
            amount = min(chance.randint(1, chance.choice(SIZES)), size - sent)
            at = sent % len(BLOCK)
            near.sendall(view[at : at + amount])
            sent += amount
            if chance.random() < 0.1:  # when both wait, the connection drains
                with progress:
                    assert progress.wait_for(lambda sent=sent: seen[mine] == sent, PATIENCE)

    def read() -> None:
        chance = random.Random(5)
        while sum(seen.values()) < 2 * size:
            data = far.recv(chance.randint(1, chance.choice(SIZES)))
            assert data, f"the stream ended after {seen.values()}"
            for mine, others in ((LOW, HIGH), (HIGH, LOW)):
                part = data.translate(None, others)
                at = seen[mine] % len(BLOCK)
                whole = own[mine][at : at + len(part)]
                whole += own[mine][: len(part) - len(whole)]
                assert part == whole, f"wrong bytes after {seen[mine]}"
                with progress:
                    seen[mine] += len(part)
                    progress.notify_all()
            if chance.random() < 0.01:
                time.sleep(PAUSE)

    with covered.counted() as risen:
        near, far = connect(a, b, b.ip)
        with near, far:
            run(read, lambda: write(LOW, 3), lambda: write(HIGH, 4))
    assert_both_ways_of_delivery(risen)
