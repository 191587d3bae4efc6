"""``python -m tests.kernel.fuzz``: looks for disagreements for as long as it is told.

Each disagreement is printed once, in the smallest form that was found, as a Python literal that
``--case`` plays again. Exit code 1 if there was any.

"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import Counter
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Flaky

from tests.kernel.case import Case, run
from tests.kernel.compare import Disagreement
from tests.kernel.differences import Difference, Way
from tests.kernel.play import Conduct
from tests.kernel.stage import Stage, staged
from tests.kernel.vectors import cases

_ROUND = 500  # cases of one road in a row
_REPLAYS = 100
_SHRINKING = 60.0  # seconds to make one case small; each that hangs takes six


@dataclass
class Found:
    """The smallest case of one kind of disagreement, and how often that was met."""

    case: Case
    text: str
    met: int = 1


class Hunt:
    """Plays generated cases until ``end``, a time of the monotonic clock."""

    def __init__(self, stage: Stage, end: float) -> None:
        self.ways: Counter[tuple[str, Way]] = Counter()
        self.names: Counter[tuple[Way, Difference]] = Counter()
        self.found: dict[tuple[str, str], Found] = {}
        self._stage = stage
        self._end = end
        self._hunted: tuple[str, str] | None = None
        self._give_up = end

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def round(self, road: str) -> None:
        """Some cases; ends with the first disagreement of a new kind, after making it small."""
        known = set(self.found)
        self._hunted = None

        @given(cases(road))
        @settings(
            max_examples=_ROUND,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        def check(case: Case) -> None:
            if self.is_over or (self._hunted and time.monotonic() >= self._give_up):
                return
            error = self.play(case)
            if error is None:
                return
            key = (road, error.kind)
            if key not in known and self._hunted in (None, key):
                now = time.monotonic()
                if self._hunted is None:
                    self._hunted, self._give_up = key, now + _SHRINKING
                if now < self._give_up:
                    raise error

        with contextlib.suppress(Disagreement, Flaky):  # it is in ``found``
            check()

    def play(self, case: Case) -> Disagreement | None:
        """Plays one case and keeps the books; its disagreement."""
        try:
            outcome = run(self._stage, case)
        except Disagreement as error:
            self._note(case, error)
            return error
        self.ways[case.road, outcome.way] += 1
        self.names.update((outcome.way, name) for name in outcome.names)
        return None

    def _note(self, case: Case, error: Disagreement) -> None:
        key = (case.road, error.kind)
        if key not in self.found:
            print(f"{case.road}: {error.kind}\n  {case}", flush=True)
        found = self.found.setdefault(key, Found(case, str(error), 0))
        found.met += 1
        if _size(case) < _size(found.case):
            found.case, found.text = case, str(error)

    def report(self) -> str:
        """Everything that was found, with how often it happens again."""
        lines = []
        for (road, kind), found in self.found.items():
            times = _replays(found.text)
            again = sum(_disagrees(self._stage, found.case, kind) for _ in range(times))
            lines += [
                f"{road}: {kind} (met {found.met} times; in {again} of {times} replays)",
                f"  {found.case}",
                *("  " + line for line in found.text.splitlines()),
                "",
            ]
        lines += [f"{road:8} {way.name:9} {n}" for (road, way), n in sorted_items(self.ways)]
        lines += [f"{way.name:9} {name.name:20} {n}" for (way, name), n in sorted_items(self.names)]
        return "\n".join(lines)


def sorted_items(counts: Counter) -> list:  # type: ignore[type-arg]
    return sorted(counts.items(), key=str)


def _replays(text: str) -> int:
    """A case that hangs is not played again so often."""
    return 2 if "hang" in text else _REPLAYS


def _size(case: Case) -> tuple[int, int]:
    return sum(map(len, case.pieces)), len(case.pieces)


def _disagrees(stage: Stage, case: Case, kind: str) -> bool:
    try:
        run(stage, case)
    except Disagreement as error:
        return error.kind == kind
    return False


def hunt(stage: Stage, minutes: float) -> int:
    """The exit code."""
    begin = time.monotonic()
    hunted = Hunt(stage, begin + 60 * minutes)
    while not hunted.is_over:
        for road in stage.roads:
            hunted.round(road)
        total, passed = hunted.ways.total(), (time.monotonic() - begin) / 60
        print(
            f"{passed:5.1f} min: {total} cases agree, {len(hunted.found)} kinds of disagreement",
            flush=True,
        )
    print(hunted.report())
    return int(bool(hunted.found))


def replay(stage: Stage, case: Case, times: int) -> int:
    """Plays one case; the exit code."""
    hunted = Hunt(stage, 0)
    for _ in range(times):
        hunted.play(case)
    for (_, kind), found in hunted.found.items():
        print(f"{kind}: {found.met} of {times}\n  {found.text}")
    print(*(f"{way.name} {name.name} {n}" for (way, name), n in sorted_items(hunted.names)))
    return int(bool(hunted.found))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--case", help="play this one instead: Case(...), as it was printed")
    parser.add_argument("--times", type=int, default=_REPLAYS)
    arguments = parser.parse_args()
    with staged() as stage:
        if arguments.case is None:
            return hunt(stage, arguments.minutes)
        case = eval(arguments.case, {"Case": Case, "Conduct": Conduct})
        return replay(stage, case, arguments.times)


if __name__ == "__main__":
    sys.exit(main())
