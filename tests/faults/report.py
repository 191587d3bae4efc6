"""The table of what was tried, on the terminal and as docs/FAULTS.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.table import Table

from tests.faults.fault import MIB, Fault
from tests.faults.samples import Seen
from tests.faults.town import Json

COLUMNS = (
    "fault", "times tried", "requests in flight", "answered", "lost", "wrong", "unapproved served",
    "longest recovery, s", "memory growth, MiB", "metric", "rose by",
)  # fmt: skip
HEAD = """\
# Faults

Written by `make faults`: checked clients ask without a pause, near and far, on the kernel road and
through the proxy, and one behind a relay of packets, while one thing after another goes wrong.
Every byte of every answer is compared. *In flight* are requests without an answer at the moment of
the fault; *lost* those that got no answer, or a 502, 503 or 504; *wrong* those that got another one
than they should; *unapproved served* those that policy refuses and the server got. *Recovery* is
the longest time that any connection was without a good answer, the fault itself included. Memory is
that of the agent and its workers. The metric must rise with the fault, and must not without.

"""


@dataclass(slots=True)
class Row:
    """Of one fault, summed over the times that it was tried; what is a maximum is one of all."""

    name: str
    fault: Fault
    times: int = 0
    in_flight: int = 0
    answered: int = 0
    lost: int = 0
    wrong: int = 0
    unapproved: int = 0
    longest: float = 0.0
    growth: int = 0
    rise: float = 0.0
    problems: list[str] = field(default_factory=list)

    def add(self, said: Json, seen: Seen, unapproved: int) -> None:
        """Take in one try."""
        rise = seen.rise(self.fault.metric)
        self.rise = min(self.rise, rise) if self.times else rise
        self.times += 1
        self.unapproved += unapproved
        self.growth = max(self.growth, seen.growth)
        for counts in said.values():
            self.in_flight += counts["in_flight"]
            self.answered += counts["answered"]
            self.lost += counts["lost"] + counts["excused"]
            self.wrong += len(counts["wrong"])
            self.longest = max(self.longest, counts["longest"])

    def cells(self) -> list[str]:
        """In the order of COLUMNS."""
        return [
            self.name, f"{self.times}", f"{self.in_flight}", f"{self.answered:,}",
            f"{self.lost:,}", f"{self.wrong}", f"{self.unapproved}", f"{self.longest:.2f}",
            f"{self.growth / MIB:.0f}", self.fault.metric.name, f"{self.rise:,.6g}",
        ]  # fmt: skip


def table(rows: Iterable[Row]) -> Table:
    """For a terminal."""
    made = Table(*COLUMNS)
    for row in rows:
        made.add_row(*row.cells())
    return made


def markdown(rows: Sequence[Row]) -> str:
    """The document."""
    cells = [COLUMNS, ["---"] * len(COLUMNS)]
    for row in rows:
        *others, metric, rise = row.cells()
        cells.append([*others, f"`{metric}`", rise])
    lines = [f"| {' | '.join(each)} |" for each in cells]
    problems = [f"- {each}" for row in rows for each in row.problems]
    if problems:
        lines += ["", "What was not as it must be:", "", *problems]
    return HEAD + "\n".join(lines) + "\n"
