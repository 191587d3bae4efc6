"""``l7proxy check``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from l7proxy.cli import against, offline, options, show
from l7proxy.compiler.fit import KernelFit
from l7proxy.compiler.rules_map import size_class
from l7proxy.config import Config
from l7proxy.datapath.addresses import identity_number
from l7proxy.datapath.tables import Entries, TableError
from l7proxy.file_errors import FileError, FileErrors
from l7proxy.policy import check as policy_check
from l7proxy.policy import documents
from l7proxy.policy.documents import PolicyErrors
from l7proxy.policy.model import Direction, PolicySet, PortRange
from l7proxy.workloads import documents as workload_documents
from l7proxy.workloads.model import Workload


@click.command("check")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=options.PATH)
@click.option(
    "--workloads",
    "workloads_path",
    metavar="FILE",
    type=options.PATH,
    help="Workloads to show the destinations of. Default: the configured ones, if there are any.",
)
@click.option(
    "--against",
    "flows",
    metavar="FLOWS.json",
    type=options.PATH,
    help="Show which of these recorded requests would change their verdict; - for standard input.",
)
@options.config
@options.output
def command(
    paths: tuple[Path, ...],
    workloads_path: Path | None,
    flows: Path | None,
    config: Config,
    as_json: bool,
) -> int:
    """Validate policies, and show the roads.

    Shows which road the connections to each destination take, and why. With --against, which
    requests of the past would be refused or let through that were not: one flow a line, as the
    access log or observe -o json write them, or Hubble.

    PATH is a policy file or a folder of them; the configured folder if there is none. Exit code: 0
    valid, 1 invalid, 2 wrong usage; with --against 3 if a verdict would change.
    """
    errors: list[FileError] = []
    warnings: list[FileError] = []
    policies = _policies(paths or (config.policies,), config, errors)
    workloads = _workloads(workloads_path, config, errors, warnings)
    destinations: Sequence[policy_check.Destination] = ()
    rules = 0
    sizes: dict[str, int] = {}
    fit = None if config.datapath == "userspace" else KernelFit(config.limits)
    if policies is not None and not errors:
        entries = None
        try:
            if fit is not None:
                entries = offline.entries(policies, workloads or (), config, fit)
        except TableError as clash:
            errors.append(FileError(str(workloads_path or config.workloads), 0, str(clash)))
        report = policy_check.check(
            policies,
            workloads,
            unfit=fit.unfit if fit else None,
            crowded=_crowded(entries, workloads or ()),
        )
        warnings += report.warnings
        destinations, rules = report.destinations, report.rule_count
        sizes = {} if entries is None else _table_sizes(entries)
    replayed = None
    if flows is not None and policies is not None and not errors:
        replayed = against.replay(flows, policies, workloads)
        if not replayed.replayed:
            errors.append(FileError(str(flows), 0, against.nothing_replayed(replayed)))
    if as_json:
        document: dict[str, Any] = {
            "valid": not errors,
            "errors": [_as_json(error) for error in errors],
            "warnings": [_as_json(warning) for warning in warnings],
            "destinations": [each.as_json() for each in destinations],
        }
        if replayed is not None:
            document["against"] = against.as_json(replayed)
        show.as_json(document)
        return 1 if errors else against.exit_code(replayed)
    for error in errors:
        click.echo(str(error), err=True)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if errors or policies is None:
        return 1
    if replayed is not None:
        against.show_report(replayed)
        return against.exit_code(replayed)
    _show(destinations)
    if sizes:
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sizes.items())
        click.echo(f"kernel tables: {counts}")
    audited = [each.display_name for each in policies.policies if each.audited]
    if audited:
        click.echo(f"audited, not enforced: {', '.join(audited)}")
    click.echo(f"{len(policies.policies)} policies, {rules} rules, {len(warnings)} warnings: valid")
    return 0


def _policies(paths: Iterable[Path], config: Config, errors: list[FileError]) -> PolicySet | None:
    try:
        return documents.load_paths(paths, config.limits)
    except PolicyErrors as error:
        errors.extend(error.errors)
        return None


def _workloads(
    path: Path | None, config: Config, errors: list[FileError], warnings: list[FileError]
) -> Sequence[Workload] | None:
    if path is None and not config.workloads.exists():
        return None
    try:
        found = workload_documents.load(path or config.workloads, config.limits)
    except FileErrors as error:
        errors.extend(error.errors)
        return None
    warnings.extend(found.warnings)
    return found.workloads


def _crowded(entries: Entries | None, workloads: Iterable[Workload]) -> policy_check.Crowded:
    numbers = {each.id: identity_number(each) for each in workloads}

    def crowded(workload: str, direction: Direction, ports: PortRange) -> bool:
        return entries is not None and entries.crowds(
            numbers[workload], direction, ports.first, ports.last
        )

    return crowded


def _table_sizes(entries: Entries) -> dict[str, int]:
    """Entries of the kernel's tables, without those of the node's own addresses."""
    sets = {each.digest: size_class(each) for each in entries.tables.values()}
    return {
        "identities": len(entries.identities),
        "port_classes": len(entries.port_classes),
        "roads": len(entries.roads),
        "rule_sets": len(sets),
        "bytes_of_rules": sum(each.value_bytes for each in sets.values()),
    }


def _show(destinations: Sequence[policy_check.Destination]) -> None:
    if not destinations:
        return
    show.table(
        ["direction", "workload", "port", "road", "rules", "why"],
        [
            [each.direction, each.workload, each.port, each.road, each.rules, each.reason]
            for each in destinations
        ],
    )


def _as_json(fault: FileError) -> dict[str, Any]:
    return {"file": fault.file, "line": fault.line, "message": fault.message}
