"""Moves packets between two namespaces as a bad network does: late, lost, twice, in another order.

``python -m tests.faults.relay NETNS NETNS``: a TUN device ``relay`` in each. A line of JSON on
standard input is the weather from then on; at its end what was done is printed and all is over.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from l7proxy.datapath import netns

_TUNSETIFF = 0x400454CA
_TUN_WITHOUT_HEADER = 0x0001 | 0x1000
_TCP = 6
_RST_ACK = 0x14
_WAITING = 4096
"""Packets on their way at most; more are lost, as in a router."""


@dataclass(frozen=True, slots=True)
class Weather:
    """``delay`` and up to ``jitter`` more, in seconds, which changes the order; the others are
    chances of a packet: to be lost, to come twice, to have its connection reset at both ends."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    twice: float = 0.0
    reset: float = 0.0


def device(namespace: str) -> int:
    """A descriptor of the new TUN device of a namespace; it goes with the descriptor."""
    descriptor = netns.open_named(namespace)
    try:
        with netns.entered(descriptor):
            made = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(made, _TUNSETIFF, struct.pack("16sH14x", b"relay", _TUN_WITHOUT_HEADER))
        return made
    finally:
        os.close(descriptor)


class Relay:
    """``done`` counts what happened to packets."""

    def __init__(self, ends: tuple[int, int]) -> None:
        self.weather = Weather()
        self.done: Counter[str] = Counter()
        self._other = {ends[0]: ends[1], ends[1]: ends[0]}
        self._chance = random.Random(1)
        self._on_the_way: list[tuple[float, int, int, bytes]] = []

    def wait(self) -> float | None:
        """Seconds until something is due."""
        return max(0.0, self._on_the_way[0][0] - time.monotonic()) if self._on_the_way else None

    def take(self, end: int) -> None:
        """What has come at one end."""
        try:
            packet = os.read(end, 65536)
        except BlockingIOError:
            return
        chance, weather = self._chance.random, self.weather
        if chance() < weather.loss or len(self._on_the_way) >= _WAITING:
            self.done["lost"] += 1
            return
        if chance() < weather.reset and (both := resets(packet)):
            self.done["reset"] += 1
            self._send(self._other[end], both[0])
            self._send(end, both[1])
            return
        for _ in range(2 if chance() < weather.twice else 1):
            self._send(self._other[end], packet)

    def deliver(self) -> None:
        """What is due."""
        now = time.monotonic()
        while self._on_the_way and self._on_the_way[0][0] <= now:
            _, number, end, packet = heapq.heappop(self._on_the_way)
            self.done["late"] += number < self.done["last"]
            self.done["last"] = max(number, self.done["last"])
            self.done["passed"] += 1
            try:
                os.write(end, packet)
            except OSError:
                self.done["lost"] += 1

    def _send(self, end: int, packet: bytes) -> None:
        due = time.monotonic() + self.weather.delay + self._chance.random() * self.weather.jitter
        self.done["sent"] += 1
        heapq.heappush(self._on_the_way, (due, self.done["sent"], end, packet))


def resets(packet: bytes) -> tuple[bytes, bytes] | None:
    """For a segment with content: a reset in its place, and one to who has sent it."""
    if packet[0] >> 4 != 4 or packet[9] != _TCP:
        return None
    at = (packet[0] & 15) * 4
    source, target = packet[12:16], packet[16:20]
    ports, seq, ack = packet[at : at + 4], packet[at + 4 : at + 8], packet[at + 8 : at + 12]
    if len(packet) <= at + (packet[at + 12] >> 4) * 4:
        return None
    back = ports[2:] + ports[:2]
    return _reset(source, target, ports, seq, ack), _reset(target, source, back, ack, seq)


def _reset(source: bytes, target: bytes, ports: bytes, seq: bytes, ack: bytes) -> bytes:
    tcp = ports + seq + ack + bytes([5 << 4, _RST_ACK]) + bytes(6)
    pseudo = source + target + struct.pack(">HH", _TCP, len(tcp))
    tcp = tcp[:16] + _checksum(pseudo + tcp) + tcp[18:]
    head = struct.pack(">BBHHHBB2x", 0x45, 0, 40, 0, 0, 64, _TCP) + source + target
    return head[:10] + _checksum(head) + head[12:] + tcp


def _checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)


def lines(descriptor: int) -> Iterator[dict[str, Any] | None]:
    """What has come on a descriptor so far; None at its end."""
    data = os.read(descriptor, 65536)
    yield from map(json.loads, data.splitlines())
    if not data:
        yield None


def main(near: str, far: str) -> None:
    ends = device(near), device(far)
    relay = Relay(ends)
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([*ends, 0], [], [], relay.wait())
        for end in readable:
            if end:
                relay.take(end)
                continue
            for line in lines(end):
                if line is None:
                    print(json.dumps(relay.done))
                    return
                relay.weather = Weather(**line)
        relay.deliver()


def command(weather: Weather) -> str:
    """The line that makes it so."""
    return json.dumps(asdict(weather)) + "\n"


if __name__ == "__main__":
    main(*sys.argv[1:])
