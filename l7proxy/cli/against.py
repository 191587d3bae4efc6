"""The part of ``l7proxy check`` that replays recorded flows: reading them, and showing changes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click

from l7proxy.cli import show
from l7proxy.policy.model import PolicySet
from l7proxy.replay import changes
from l7proxy.replay.changes import RANKS, Change, Report
from l7proxy.workloads.model import Workload

CHANGES = 3
_STDIN = Path("-")
# Far above any flow. What is left of a longer line is read as a line of its own, which is no JSON.
_LINE_BYTES = 1 << 20
_ROWS = 50
_PATHS = 3


def replay(path: Path, policies: PolicySet, workloads: Sequence[Workload] | None) -> Report:
    """What ``policies`` would make of the flows in a file. Raises OSError."""
    if path == _STDIN:
        return changes.replay(_lines(sys.stdin.buffer), policies, workloads)
    with path.open("rb") as stream:
        return changes.replay(_lines(stream), policies, workloads)


def exit_code(report: Report | None) -> int:
    """CHANGES where a verdict would change."""
    return CHANGES if report is not None and report.changes else 0


def nothing_replayed(report: Report) -> str:
    """Why a file says nothing about the policies, in one line."""
    causes = "; ".join(map(str, report.untold)) or "the file is empty"
    return f"no request in it could be replayed: {causes}"


def as_json(report: Report) -> dict[str, Any]:
    """``against`` of ``l7proxy check -o json``."""
    return {
        "replayed": report.replayed,
        "changed": report.changed,
        "changes": [{"count": count, **change._asdict()} for change, count in report.changes],
        "not_replayed": [
            {
                "count": each.count,
                "cause": each.cause.value,
                "detail": each.detail or None,
                "first_line": each.first,
            }
            for each in report.untold
        ],
    }


def show_report(report: Report) -> None:
    """The changes as a table, the worst first, and a line for each kind of flow left out."""
    rows = _rows(report)
    if rows:
        show.table(
            ["count", "was", "would be", "client", "server", "port", "method", "path", "why"],
            rows[:_ROWS],
        )
    if len(rows) > _ROWS:
        rest = sum(row[0] for row in rows[_ROWS:])
        click.echo(f"and {rest} requests in {len(rows) - _ROWS} more rows: -o json has them all")
    for each in report.untold:
        click.echo(f"not replayed: {show.plain(str(each))}")
    told = ", ".join(f"{count} {kind.value}" for kind, count in report.by_kind.items())
    click.echo(f"{report.replayed} requests replayed: {told or 'no verdict would change'}")


def _rows(report: Report) -> list[tuple[int, *tuple[object, ...]]]:
    """A row for each change; one for all that only their paths tell apart, if these are many."""
    alike: dict[Change, list[tuple[Change, int]]] = {}
    for change, count in report.changes:
        alike.setdefault(change._replace(path=""), []).append((change, count))
    rows = []
    for found in alike.values():
        if len(found) > _PATHS:
            change, total = found[0][0], sum(count for _, count in found)
            path = f"{change.path} and {len(found) - 1} others"
            rows.append((change.kind, total, change._replace(path=path)))
        else:
            rows += [(change.kind, count, change) for change, count in found]
    rows.sort(key=lambda row: (RANKS[row[0]], -row[1]))
    return [
        (
            count,
            each.was,
            each.would_be,
            each.client,
            each.server,
            each.port,
            each.method,
            each.path,
            " ".join(filter(None, (each.reason, each.policy, each.rule))),
        )
        for _, count, each in rows
    ]


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(_LINE_BYTES):
        yield line
