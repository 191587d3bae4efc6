"""The requests whose verdict would change, grouped and counted, and what was left open. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from l7proxy.observe.flows import AUDIT, DROPPED, ERROR
from l7proxy.policy.model import PolicySet
from l7proxy.replay.judge import Judge, Outcome
from l7proxy.replay.recorded import Cause, NotReplayed, Reader, Recorded
from l7proxy.workloads.directory import Directory
from l7proxy.workloads.model import Workload

# Beyond so many groups, new ones are put together with others: memory has an end, counts stay.
_GROUPS_MAX = 10_000
_OTHER = "(others)"


class Kind(Enum):
    """What a change means, the worst first."""

    REFUSED = "would be refused"
    UNSERVED = "would find no backend"
    OPENED = "would be let through"
    AUDITED = "would be recorded as AUDIT"
    NOT_AUDITED = "would not be recorded as AUDIT any more"


class Change(NamedTuple):
    """Requests that are alike: ``was`` and ``would_be`` are verdicts, ``path`` has its query."""

    was: str
    would_be: str
    client: str
    server: str
    port: int
    method: str
    path: str
    reason: str
    policy: str | None
    rule: str | None

    @property
    def kind(self) -> Kind:
        if self.would_be == DROPPED:
            return Kind.REFUSED
        if self.would_be == ERROR:
            return Kind.UNSERVED
        if self.was == DROPPED:
            return Kind.OPENED
        return Kind.AUDITED if self.would_be == AUDIT else Kind.NOT_AUDITED


RANKS = {kind: rank for rank, kind in enumerate(Kind)}


@dataclass(frozen=True, slots=True)
class Untold:
    """Lines that were not replayed; ``first`` is the number of the first of them, from 1."""

    cause: Cause
    detail: str
    count: int
    first: int

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.count} {self.cause.value}{detail}, the first in line {self.first}"


@dataclass(frozen=True, slots=True)
class Report:
    """``changes`` with their counts, the worst first; every line is ``replayed`` or ``untold``."""

    replayed: int
    changes: tuple[tuple[Change, int], ...]
    untold: tuple[Untold, ...]

    @property
    def changed(self) -> int:
        """How many requests would change their verdict."""
        return sum(count for _, count in self.changes)

    @property
    def by_kind(self) -> dict[Kind, int]:
        """The same by what it means, the worst first; kinds without a request are left out."""
        sums: Counter[Kind] = Counter()
        for change, count in self.changes:
            sums[change.kind] += count
        return {kind: sums[kind] for kind in Kind if kind in sums}


def replay(
    lines: Iterable[bytes], policies: PolicySet, workloads: Sequence[Workload] | None
) -> Report:
    """Decide the recorded requests, a flow in each line, by ``policies``.

    A workload of ``workloads`` has the labels that it has there; None: nothing is known but what
    the flows say.
    """
    judge = Judge(policies, workloads)
    reader = Reader(Directory(workloads or ()), judge.headers, hosts_matter=judge.names_hosts)
    changes: Counter[Change] = Counter()
    untold: Counter[tuple[Cause, str]] = Counter()
    first: dict[tuple[Cause, str], int] = {}
    replayed = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            recorded = reader.read(_parsed(line))
            outcome = judge.decide(recorded)
        except NotReplayed as error:
            cause = _bounded(untold, (error.cause, error.detail))
            untold[cause] += 1
            first.setdefault(cause, number)
            continue
        replayed += 1
        if differs(recorded.verdict, outcome.verdict):
            changes[_grouped(changes, recorded, outcome)] += 1
    return Report(
        replayed,
        tuple(sorted(changes.items(), key=_worst_first)),
        tuple(Untold(*cause, count, first[cause]) for cause, count in untold.most_common()),
    )


def differs(was: str, would_be: str) -> bool:
    """Whether a verdict would change. A request that was allowed and not served (ERROR) is the
    same as one that is served: what it met was no policy."""
    return was != would_be and (was != ERROR or would_be == DROPPED)


def _parsed(line: bytes) -> dict[str, object]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        raise NotReplayed(Cause.NOT_JSON) from None
    if not isinstance(document, dict):
        raise NotReplayed(Cause.NOT_JSON)
    return document


def _grouped(known: Counter[Change], recorded: Recorded, outcome: Outcome) -> Change:
    change = Change(
        recorded.verdict,
        outcome.verdict,
        recorded.client.id,
        recorded.server.id,
        recorded.port,
        recorded.method.decode(),
        recorded.target.decode(),
        outcome.reason,
        outcome.policy,
        outcome.rule,
    )
    if change in known or len(known) < _GROUPS_MAX:
        return change
    change = change._replace(path=_OTHER)
    if change in known or len(known) < 2 * _GROUPS_MAX:
        return change
    return change._replace(client=_OTHER, server=_OTHER, port=0, method=_OTHER)


def _bounded(known: Counter[tuple[Cause, str]], cause: tuple[Cause, str]) -> tuple[Cause, str]:
    return cause if cause in known or len(known) < _GROUPS_MAX else (cause[0], "")


def _worst_first(counted: tuple[Change, int]) -> tuple[int, int, Change]:
    change, count = counted
    # None does not compare with text.
    comparable = change._replace(policy=change.policy or "", rule=change.rule or "")
    return RANKS[change.kind], -count, comparable
