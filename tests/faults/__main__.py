"""``python -m tests.faults``: what goes wrong under load, and what clients notice of it.

Exit code 1 if a request was served that policy refuses, an answer was wrong, a road lost requests
that the fault has no part in, it took longer than RECOVERY seconds until all was well, memory grew
beyond its bound, or no metric told of the fault. Writes docs/FAULTS.md where nothing was picked.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from tests.faults.faults import CONTROL, FAULTS, NOTHING
from tests.faults.files import FAKETIME
from tests.faults.report import Row, markdown, table
from tests.faults.town import Town, town
from tests.faults.trial import trial

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "FAULTS.md"


def tried(place: Town, row: Row, times: int) -> None:
    """So often, with what the fault needs around it."""
    with row.fault.around(place) if row.fault.around else nullcontext():
        for number in range(times):
            print(f"... {row.name}: {number + 1} of {times}", flush=True)
            trial(place, row)
    for each in row.problems:
        print(f"WRONG: {each}", flush=True)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="how often each fault is tried")
    parser.add_argument("--only", default="", help="faults with this in their name")
    arguments = parser.parse_args()
    faults = {NOTHING: CONTROL, **FAULTS}
    rows = [Row(name, fault) for name, fault in faults.items() if arguments.only in name]
    if FAKETIME is None:
        print("LEFT OUT: the clock is not set, because faketime is missing")
    with town() as place:
        for row in rows:
            tried(place, row, arguments.times)
    Console(width=None if sys.stdout.isatty() else 200).print(table(rows))
    if not arguments.only:
        DOCUMENT.write_text(markdown(rows))
    wrong = sum(len(row.problems) for row in rows)
    print(f"{wrong} things wrong" if wrong else "nothing wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
