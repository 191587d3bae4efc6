"""A case: what is sent, on which road, how; and one run of it from the script to the verdict."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from tests.kernel.choices import goes_by_redirect, steps
from tests.kernel.compare import Disagreement, agree, compare
from tests.kernel.differences import Difference, Way
from tests.kernel.play import Conduct, play
from tests.kernel.readers import read_alike
from tests.kernel.script import Script, by_parser, by_tables, check_tables
from tests.kernel.stage import Stage

_RUN = re.compile(rb"(.)\1{39,}", re.DOTALL)
_ONE_MESSAGE = 1 << 15  # bytes; the kernel cuts what is much longer


@dataclass(frozen=True)
class Case:
    """The pieces, sent on the road of this name; see ``play``."""

    road: str
    conduct: Conduct
    pieces: tuple[bytes, ...]
    eager: bool = False

    def __str__(self) -> str:
        """A literal that makes the same case."""
        pieces = "".join(f"{_literal(piece)}, " for piece in self.pieces)
        conduct = f"Conduct.{self.conduct.name}"
        return f"Case({self.road!r}, {conduct}, ({pieces.rstrip()}), {self.eager})"


def _literal(piece: bytes) -> str:
    """Long runs of a byte are not written out."""
    parts, at = [], 0
    for run_of in _RUN.finditer(piece):
        parts += [repr(piece[at : run_of.start()])] if run_of.start() > at else []
        parts.append(f"{run_of[1]!r} * {len(run_of[0])}")
        at = run_of.end()
    return " + ".join([*parts, repr(piece[at:])] if at < len(piece) or not parts else parts)


@dataclass(frozen=True)
class Outcome:
    """The way that the connection took, and the named differences that were seen."""

    way: Way
    names: frozenset[Difference]


@lru_cache(maxsize=64)
def scripts(
    stage: Stage, pieces: tuple[bytes, ...], *, answered: int
) -> tuple[Script, Script, frozenset[Difference]]:
    """By the tables and by the parser, held to each other and to other readers."""
    tables = by_tables(stage.tables, pieces, answered=answered)
    parser = by_parser(stage.decide, pieces, answered=answered)
    names = set(agree(tables, parser))
    check_tables(stage.tables, tables, stage.decide)
    for item in tables.items:
        if item.served:
            request = tables.wire[item.start : item.end]
            try:
                name = read_alike(request)
            except AssertionError as error:
                raise Disagreement("other readers read it in another way", request) from error
            names |= {name} if name else set()
    return tables, parser, frozenset(names)


def run(stage: Stage, case: Case) -> Outcome:
    """Plays a case. Raises Disagreement."""
    road = stage.roads[case.road]
    pieces = tuple(piece for piece in case.pieces if piece)
    hasty = case.conduct is Conduct.HASTY
    seen, disagreement = None, None
    for answered in _answered(case.conduct, len(pieces)):
        tables, parser, names = scripts(stage, pieces, answered=answered)
        script = parser if road.way is Way.PROXY else tables
        way = road.way or _way(script, case, pieces)
        waits = _waits(case)
        reads = case.conduct is Conduct.LOCKSTEP
        plan = list(
            steps(script, way, pieces, hasty=hasty, merged=case.eager, waits=waits, reads=reads)
        )
        seen = seen or play(road, pieces, plan, case.conduct, eager=case.eager)
        try:
            slow = case.conduct is Conduct.UNREAD
            return Outcome(way, names | compare(script, way, plan, seen, slow=slow))
        except Disagreement as error:
            disagreement = disagreement or error
        if not any(item.head and item.head.upgrade for item in script.items):
            break
    assert disagreement is not None
    raise disagreement


def _answered(conduct: Conduct, pieces: int) -> tuple[int, ...]:
    """In how many pieces offers of an upgrade are answered before the next is sent; any number may
    be where nobody waits."""
    match conduct:
        case Conduct.LOCKSTEP:
            return (pieces,)
        case Conduct.HELD:
            return (0,)
    return (0, pieces, *range(1, pieces))


def _waits(case: Case) -> bool:
    """Whether the client never sends while an answer is on its way."""
    return case.conduct in (Conduct.LOCKSTEP, Conduct.HELD) or len(case.pieces) == 1


def _way(script: Script, case: Case, pieces: tuple[bytes, ...]) -> Way:
    """Of a client whose messages are judged at its own socket if they are whole; one that does not
    read before it sends on may have to go by TCP."""
    if case.eager or not _waits(case) or max(map(len, pieces)) > _ONE_MESSAGE:
        return Way.MIXED
    return Way.REDIRECT if goes_by_redirect(script, pieces) else Way.MIXED
