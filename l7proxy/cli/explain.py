"""``l7proxy explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from l7proxy.cli import admin, offline, options, show
from l7proxy.config import Config
from l7proxy.explain import Question, QuestionError, explain
from l7proxy.policy.explain import EXIT_REFUSED_L4


@click.command("explain")
@click.argument("method", metavar="METHOD")
@click.argument("target", metavar="TARGET")
@click.option("--from", "client", metavar="LABELS", required=True, help="Who sends the request.")
@click.option("--to", "server", metavar="LABELS", required=True, help="Whom it is sent to.")
@click.option("--port", metavar="N", required=True, type=click.IntRange(1, 65535), help="Its port.")
@click.option("-H", "--header", "headers", metavar="'NAME: VALUE'", multiple=True)
@offline.documents("Ask these policies, not the running agent.")
@options.config
@options.output
def command(
    method: str,
    target: str,
    client: str,
    server: str,
    port: int,
    headers: tuple[str, ...],
    policy_paths: tuple[Path, ...],
    workloads_path: Path | None,
    config: Config,
    as_json: bool,
) -> int:
    """Tell what would become of a request.

    Shows the verdict, the rule that decides, the road, and the nearest rule that did not match.

    LABELS are key=value,key=value; a workload's name or namespace/name, an IP address, host and
    world do too. Exit code: 0 served, 22 refused by HTTP rules, 28 refused at L3/L4, 1 or 2 error.
    """
    offline.check(policy_paths, workloads_path)
    question = Question(client, server, port, method, target, tuple(map(_header, headers)))
    if policy_paths:
        found = _offline(question, policy_paths, workloads_path, config)
    else:
        found = admin.ask(config.admin_socket, "/explain", question.to_json())
    if as_json:
        show.as_json(found["answer"])
    else:
        _show(question, found)
    code: int = found["exit_code"]
    return code


def _offline(
    question: Question, policy_paths: tuple[Path, ...], workloads_path: Path | None, config: Config
) -> dict[str, Any]:
    around = offline.surroundings(policy_paths, workloads_path, config)
    try:
        return explain(question, around).to_json()
    except QuestionError as error:
        raise click.UsageError(str(error)) from None


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise click.UsageError(f"{text!r} is not a header: write -H 'Name: value'")
    return name, value.strip(" \t")


def _audit(would: dict[str, Any] | None, meaning: str) -> str | None:
    """What would be if the audited policies were enforced."""
    if would is None:
        return None
    by = " ".join(filter(None, (would["policy"], would["rule"])))
    recorded = "; recorded as AUDIT" if would["recorded"] else ""
    return (
        f"if {' and '.join(would['policies'])} were enforced: {would['verdict']} "
        f"({would['action']}){f' by {by}' if by else ''}, {would['reason']}: {meaning}{recorded}"
    )


def _show(question: Question, found: dict[str, Any]) -> None:
    answer = found["answer"]
    request = show.plain(f"{question.method} {question.target}")
    # In JSON the road is one of three; no road is taken by what is refused before a request.
    road = "refused" if found["exit_code"] == EXIT_REFUSED_L4 else answer["road"]
    lines = {
        "request": f"{request} from {found['from']} to {found['to']} port {question.port}",
        "reason": f"{answer['reason']}: {found['meaning']}",
        "policy": answer["policy"],
        "rule": answer["rule"],
        "backend": answer["backend"],
        "road": f"{road}: {found['road_reason']}",
        "audit": _audit(answer["audit"], found["audit_meaning"]),
        "nearest": found["nearest"],
        "note": "; ".join(found["notes"]),
    }
    click.echo(f"{answer['verdict']} ({answer['action']})")
    for name, text in lines.items():
        if text:
            click.echo(f"  {name:8} {show.plain(text)}")
