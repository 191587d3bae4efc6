"""``python -m tests.faults``: what goes wrong under load, and what clients notice of it.

Exit code 1 if a request was served that policy refuses, an answer was wrong, a road lost requests
that the fault has no part in, or it took longer than RECOVERY seconds until all was well.
"""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console
from rich.table import Table

from tests.faults.faults import FAULTS, Fault
from tests.faults.town import Town, town

RECOVERY = 5.0
CALM = 2.0
"""Seconds of load before the fault."""
LOAD = 12.0


def tried(place: Town, fault: Fault) -> tuple[dict[str, dict[str, float]], list[str]]:
    """What the clients counted, and all that is wrong."""
    with place.load(LOAD) as said:
        time.sleep(CALM)
        fault.make(place)
    problems = [f"served although refused: {target}" for target in place.unapproved()]
    for name, counts in said.items():
        problems += [f"{name}: {each}" for each in counts["wrong"]]
        if counts["lost"] and name not in fault.roads:
            problems.append(f"{name}: {counts['lost']} requests lost")
        if counts["longest"] > RECOVERY + fault.away:
            problems.append(f"{name}: {counts['longest']:.1f} s without a good answer")
        if not counts["answered"]:
            problems.append(f"{name}: nothing was answered")
    return said, problems


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="how often each fault is tried")
    parser.add_argument("--only", default="", help="faults with this in their name")
    arguments = parser.parse_args()
    table = Table("fault", "times", "road", "answered", "lost", "wrong", "longest gap, s")
    wrong: list[str] = []
    with town() as place:
        for name, fault in FAULTS.items():
            if arguments.only not in name:
                continue
            sums: dict[str, list[float]] = {}
            for number in range(arguments.times):
                print(f"... {name}: {number + 1} of {arguments.times}", flush=True)
                said, problems = tried(place, fault)
                wrong += [f"{name}: {each}" for each in problems]
                for road, counts in said.items():
                    row = sums.setdefault(road, [0, 0, 0, 0.0])
                    row[0] += counts["answered"]
                    row[1] += counts["lost"] + counts["excused"]
                    row[2] += len(counts["wrong"])
                    row[3] = max(row[3], counts["longest"])
            for road, (answered, lost, bad, longest) in sums.items():
                table.add_row(
                    name, str(arguments.times), road, f"{answered:,.0f}", f"{lost:,.0f}",
                    f"{bad:.0f}", f"{longest:.2f}",
                )  # fmt: skip
    Console(width=100).print(table)
    for each in wrong[:40]:
        print(f"WRONG: {each}")
    print("nothing wrong" if not wrong else f"{len(wrong)} things wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
