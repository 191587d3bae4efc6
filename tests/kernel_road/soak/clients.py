"""The clients of one way, in one process.

``python -m tests.kernel_road.soak.clients WAY HOST PORT PERIOD``; ends when standard input does.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.kernel_road.soak.client import Books, Client
from tests.kernel_road.soak.connection import Ended
from tests.kernel_road.soak.kinds import KINDS, Kind
from tests.kernel_road.soak.policy import Period

_EVERY = 5.0  # seconds between reports
_SHOWN = 5


class Clients:
    """``books`` by kind; ``faults``: the first ones of each in words, since the last report."""

    def __init__(self, way: str, address: tuple[str, int], period: Period) -> None:
        self.way = way
        self.address = address
        self.period = period
        self.books = {kind.name: Books() for kind in KINDS}
        self.faults: list[str] = []
        self._told: Counter[str] = Counter()

    def report(self) -> str:
        """A line; every fault is in one of them only."""
        faults, self.faults = self.faults, []
        books = {name: asdict(each) for name, each in self.books.items()}
        return json.dumps({"books": books, "faults": faults})

    async def run(self, kind: Kind, number: int) -> None:
        """One client, round after round."""

        def fault(what: str) -> None:
            self._told[kind.name] += 1
            if self._told[kind.name] <= _SHOWN:
                self.faults.append(f"{self.way} {kind.name}: {what}")

        name = f"{self.way}-{kind.name}-{number}"
        client = Client(self.way, name, self.address, self.period, self.books[kind.name], fault)
        while True:
            await asyncio.sleep(kind.pause * random.uniform(0.5, 1.5))
            try:
                await kind.round(client)
            except Ended as error:
                client.ended(error)


async def main(way: str, host: str, port: int, path: Path) -> None:
    """Runs all kinds and reports until standard input ends."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)
    with Period(path) as period:
        clients = Clients(way, (host, port), period)
        tasks = [
            asyncio.create_task(clients.run(kind, number))
            for kind in KINDS
            for number in range(kind.clients)
        ]
        waiting = asyncio.create_task(over.wait())
        while not over.is_set():
            done, _ = await asyncio.wait(
                [waiting, *tasks], timeout=_EVERY, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done - {waiting}:
                task.result()  # none ends by itself: it raises what went wrong
            print(clients.report(), flush=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        print(clients.report(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
