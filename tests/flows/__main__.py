"""``python -m tests.flows --requests 100000``: the long form of test_equality, with figures."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.flows.test_equality import ALL
from tests.flows.town import PATIENCE, counted, expected, statuses, told, watched
from tests.support.waiting import eventually


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=ALL, help="limits.flow_rate")
    arguments = parser.parse_args()
    wrong = 0
    with watched(flow_rate=arguments.rate, flow_read_rate=ALL, flow_ring_bytes=1 << 26) as town:
        before = town.metrics()
        begin = time.monotonic()
        said = town.load(arguments.requests // len(town.ways))
        seconds = time.monotonic() - begin
        print(f"{len(said)} requests in {seconds:.0f} s: {dict(statuses(said))}")
        try:
            eventually(lambda: counted(before, town.metrics()) == statuses(said), PATIENCE)
            print("metrics: as the clients say")
        except AssertionError:
            wrong += 1
            print(f"METRICS DIFFER: {dict(counted(before, town.metrics()))}")
        if arguments.rate == ALL:
            flows = Counter(map(told, town.records(len(said))))
            wanted = Counter(expected(way.road, each) for way, each in said)
            print(f"{flows.total()} records, {len(flows & wanted)} as the clients say")
            for name, difference in (("TOO MANY", flows - wanted), ("LACKING", wanted - flows)):
                wrong += len(difference)
                for each in list(difference)[:10]:
                    print(f"{name}: {each}")
        lost = {key: value for key, value in town.metrics().items() if "lost" in key[0]}
        print(f"lost: {lost}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
