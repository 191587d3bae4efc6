"""Plays the rows: sends each request, asks who decided, and compares with the policy's word."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from l7proxy.demo.agents import AgentError, Explanation
from l7proxy.demo.client import Outcome
from l7proxy.demo.scenario import Row
from l7proxy.demo.stages import Stage

LOG_TIMEOUT = 5.0
"""Seconds that the access log gets to show a request."""

SERVED, REFUSED_AT_L7, REFUSED_AT_L4 = 0, 22, 28
"""Exit codes of ``l7proxy explain``."""


@dataclass(frozen=True, slots=True)
class Played:
    """A row, what came of it, and every way in which that is not what the policy says."""

    row: Row
    outcome: Outcome
    explanation: Explanation | None
    logged: tuple[str, str | None] | None
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether the client, ``explain`` and the access log all agree with the row."""
        return not self.problems

    @property
    def got(self) -> str:
        """The client's outcome, for people."""
        size = len(self.outcome.body)
        if size > 4096:
            return f"{self.outcome.status} {size / 2**20:.1f} MiB"
        return str(self.outcome)

    @property
    def decided_by(self) -> str:
        """Policy and rule, or the reason, and the road; for people."""
        found = self.explanation
        if found is None:
            return "-"
        who = "/".join(part for part in (found.policy, found.rule) if part)
        return (
            f"{who or found.reason} ({found.reason}, {found.road})"
            if who
            else (f"{found.reason} ({found.road})")
        )


def send(stage: Stage, row: Row, request_id: str) -> Outcome:
    """Send the row's request from its client, on a connection of its own."""
    host, port = stage.endpoints[row.server]
    address = stage.sources.get(row.client)
    return stage.pods[row.client].http(
        row.method,
        host,
        port,
        row.target,
        headers=(*_headers(row), ("X-Request-Id", request_id)),
        body=row.body,
        source=(address, 0) if address else None,
    )


def play(stage: Stage, rows: Sequence[Row]) -> Iterator[Played]:
    """Each row in turn; the comparison with the access log is the last thing done."""
    for number, row in enumerate(rows):
        request_id = f"demo-{number}"
        outcome = send(stage, row, request_id)
        problems = list(_against_client(stage, row, outcome))
        explanation: Explanation | None = None
        try:
            explanation = stage.agent.explain(
                stage.pods[row.client].labels,
                stage.pods[row.server].labels,
                stage.ports[row.server],
                row.method,
                row.target,
                _headers(row),
            )
        except AgentError as error:
            problems.append(str(error))
        else:
            problems += _against_explain(row, explanation)
        logged = _logged(stage, request_id) if _on_proxy(explanation) else None
        problems += _against_log(row, explanation, logged)
        yield Played(row, outcome, explanation, logged, tuple(problems))


def _headers(row: Row) -> tuple[tuple[str, str], ...]:
    return (("Host", row.server), *row.headers)


def _on_proxy(explanation: Explanation | None) -> bool:
    return explanation is not None and explanation.road == "proxy"


def _against_client(stage: Stage, row: Row, outcome: Outcome) -> Iterator[str]:
    if row.status is None:
        # An agent without eBPF cannot make connect() fail: it closes the accepted connection.
        wanted = {"EPERM"} if stage.mode == "ebpf" else {"ECONNRESET", "closed", "ECONNREFUSED"}
        if outcome.error not in wanted:
            yield f"expected a refusal ({' or '.join(sorted(wanted))}), the client got {outcome}"
        return
    if outcome.status != row.status:
        yield f"expected {row.expected}, the client got {outcome}"
    elif outcome.header("X-Server") != row.answered_by:
        yield f"expected an answer of {row.answered_by}, got one of {outcome.header('X-Server')}"


def _against_explain(row: Row, found: Explanation) -> Iterator[str]:
    code = REFUSED_AT_L4 if row.status is None else SERVED if row.status == 200 else REFUSED_AT_L7
    if (found.reason, found.rule) != (row.reason, row.rule):
        yield f"expected {row.reason} by {row.rule}, explain says {found.reason} by {found.rule}"
    if found.code != code:
        yield f"explain exits with {found.code}, expected {code}"


def _against_log(
    row: Row, explanation: Explanation | None, logged: tuple[str, str | None] | None
) -> Iterator[str]:
    if not _on_proxy(explanation):
        return
    if logged is None:
        yield "the access log has no line for it"
    elif logged != (row.reason, row.rule):
        yield f"expected {row.reason} by {row.rule}, the access log says {logged[0]} by {logged[1]}"


def _logged(stage: Stage, request_id: str) -> tuple[str, str | None] | None:
    """Reason and rule of a request in the access log, which is written in batches."""
    end = time.monotonic() + LOG_TIMEOUT
    while time.monotonic() < end:
        for flow in stage.agent.requests():
            if _request_id(flow) == request_id:
                extensions = flow["extensions"]["value"]
                return extensions["reason"], extensions["rule"]
        time.sleep(0.05)
    return None


def _request_id(flow: dict[str, Any]) -> str | None:
    headers = flow["l7"]["http"].get("headers", ())
    return next((h["value"] for h in headers if h["key"].lower() == "x-request-id"), None)
