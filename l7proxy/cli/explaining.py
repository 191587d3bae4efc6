"""``observe --explain``: for a request that was refused, what would have let it through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from l7proxy.cli import admin, offline
from l7proxy.config import Config
from l7proxy.explain import Question, QuestionError, explain
from l7proxy.observe.flows import DROPPED, REDACTED
from l7proxy.observe.seen import Json, get, known, objects, ports, text, texts
from l7proxy.policy.explain import EXIT_SERVED
from l7proxy.policy.model import NAMESPACE_LABEL
from l7proxy.reasons import Reason

Ask = Callable[[Question], dict[str, Any]]
"""Gives what ``explain.Answer.to_json`` gives. Raises QuestionError for what cannot be asked."""

_REMEMBERED = 4096
_MEANINGS = {reason.value: reason.meaning for reason in Reason}
_BY_POLICY = frozenset(
    reason.value
    for reason in (
        Reason.NO_RULE_MATCHED,
        Reason.RULE_BLOCKED,
        Reason.L4_DEFAULT_DENY,
        Reason.L4_DENY_RULE,
    )
)


class Explainer:
    """Explains flows. The same question is asked once."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._answers: dict[Question, dict[str, str]] = {}

    def explain(self, flow: Json) -> dict[str, str]:
        """Names and texts of what there is to say; nothing about requests that were served."""
        if text(flow, "verdict") != DROPPED or get(flow, "l7", "http") is None:
            return {}
        reason = known(flow, "reason")
        found: dict[str, str] = {}
        if meaning := _MEANINGS.get(reason):
            found["reason"] = f"{reason}: {meaning}"
        if reason and reason not in _BY_POLICY:
            return found
        return found | self._asked(flow)

    def _asked(self, flow: Json) -> dict[str, str]:
        question = _question(flow)
        if question not in self._answers:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            try:
                told = self._ask_by_name(question, flow)
            except QuestionError as error:
                self._answers[question] = {"note": f"cannot be explained: {error}"}
            else:
                self._answers[question] = _lines(told)
        return self._answers[question]

    def _ask_by_name(self, question: Question, flow: Json) -> dict[str, Any]:
        """By the workloads' names, or by their labels where they are not known by name."""
        try:
            return self._ask(question)
        except QuestionError:
            labelled = replace(
                question,
                client=_labels(flow, "source") or question.client,
                server=_labels(flow, "destination") or question.server,
            )
            if labelled == question:
                raise
            return self._ask(labelled)


def of_agent(config: Config) -> Ask:
    """Asks the running agent."""

    def ask(question: Question) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = admin.ask(config.admin_socket, "/explain", question.to_json())
        except admin.BadQuestion as refused:
            raise QuestionError(refused.said) from None
        return answer

    return ask


def of_policies(paths: tuple[Path, ...], workloads: Path | None, config: Config) -> Ask:
    """Asks policies in files. Raises CommandError where they have mistakes."""
    around = offline.surroundings(paths, workloads, config)
    return lambda question: explain(question, around).to_json()


def _question(flow: Json) -> Question:
    url = text(flow, "l7", "http", "url")
    host, _, _ = url.partition("://")[2].partition("/")
    headers = [
        (text(header, "key"), value)
        for header in objects(flow, "l7", "http", "headers")
        if (value := text(header, "value")) != REDACTED
    ]
    if host:
        headers.insert(0, ("Host", host))
    return Question(
        _name(flow, "source"),
        _name(flow, "destination"),
        ports(flow)[1],
        text(flow, "l7", "http", "method"),
        f"/{url.partition('://')[2].partition('/')[2]}",
        tuple(headers),
    )


def _name(flow: Json, side: str) -> str:
    """Who is at an end, as ``explain`` is asked."""
    end = get(flow, side)
    if pod := text(end, "pod_name"):
        return f"{text(end, 'namespace') or 'default'}/{pod}"
    if "reserved:host" in texts(end, "labels"):
        return "host"
    return text(flow, "IP", side) or "world"


def _labels(flow: Json, side: str) -> str:
    end = get(flow, side)
    found = [
        label.removeprefix("k8s:")
        for label in texts(end, "labels")
        if label.startswith("k8s:") and "," not in label
    ]
    if found and (namespace := text(end, "namespace")):
        found.append(f"{NAMESPACE_LABEL}={namespace}")
    return ",".join(found)


def _lines(found: dict[str, Any]) -> dict[str, str]:
    answer = found["answer"]
    lines: dict[str, str] = {}
    if found["exit_code"] == EXIT_SERVED:
        by = " ".join(part for part in (answer["policy"], answer["rule"]) if part)
        lines["note"] = f"would be served now{f', by {by}' if by else ''}: policies have changed"
        return lines
    for name in ("policy", "rule"):
        if answer[name]:
            lines[name] = answer[name]
    if found["nearest"]:
        lines["nearest"] = found["nearest"]
    return lines
