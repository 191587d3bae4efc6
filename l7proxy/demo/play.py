"""Plays the rows: sends each request, asks who decided, and compares with the policy's word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from l7proxy.demo.agents import AgentError, Explanation
from l7proxy.demo.client import Outcome
from l7proxy.demo.scenario import Row
from l7proxy.demo.stages import Stage

SERVED, REFUSED_AT_L7, REFUSED_AT_L4 = 0, 22, 28
"""Exit codes of ``l7proxy explain``."""

SHOWN_BYTES = 4096
"""Of longer answers the size is shown."""


@dataclass(frozen=True, slots=True)
class Played:
    """A row, what came of it, and every way in which that is not what the policy says.

    ``road`` is "none" where the agent has no part in the connection, "refused" where there is to
    be none.
    """

    row: Row
    outcome: Outcome
    explanation: Explanation | None
    logged: tuple[str, str | None] | None
    road: str
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether the client, ``explain`` and the access log all agree with the row."""
        return not self.problems

    @property
    def got(self) -> str:
        """The client's outcome, for people."""
        outcome = self.outcome
        server, place = outcome.header("X-Server"), outcome.header("Location")
        if place:
            return f"{outcome.status} to {place}"
        if not server:
            return str(outcome)
        size = len(outcome.body)
        much = f", {size / 2**20:.1f} MiB" if size > SHOWN_BYTES else ""
        return f"{outcome.status} from {server}{much}"

    @property
    def decided_by(self) -> str:
        """The rule, or else the reason; for people."""
        found = self.explanation
        return (found.rule or found.reason) if found else "-"


def send(stage: Stage, row: Row) -> Outcome:
    """Send the row's request from its client, on a connection of its own."""
    host, port = stage.endpoints[row.server]
    address = stage.sources.get(row.client)
    return stage.pods[row.client].http(
        row.method,
        host,
        port,
        row.target,
        headers=_headers(row),
        body=row.body,
        source=(address, 0) if address else None,
    )


def play(stage: Stage, rows: Sequence[Row]) -> Iterator[Played]:
    """Each row in turn: sent, explained, looked up in the access log."""
    for row in rows:
        outcome = send(stage, row)
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
        logged = None
        if explanation is not None and explanation.road == "proxy" and not row.direct:
            logged = _logged(stage, outcome)
            problems += _against_log(row, logged)
        road = "none" if row.direct and stage.mode == "userspace" else _road(explanation)
        yield Played(row, outcome, explanation, logged, road, tuple(problems))


def _road(explanation: Explanation | None) -> str:
    if explanation is None:
        return "-"
    return "refused" if explanation.code == REFUSED_AT_L4 else explanation.road


def _headers(row: Row) -> tuple[tuple[str, str], ...]:
    return (("Host", row.server), *row.headers)


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


def _against_log(row: Row, logged: tuple[str, str | None] | None) -> Iterator[str]:
    if logged is None:
        yield "the access log has no line for it"
    elif logged != (row.reason, row.rule):
        yield f"expected {row.reason} by {row.rule}, the access log says {logged[0]} by {logged[1]}"


def _logged(stage: Stage, outcome: Outcome) -> tuple[str, str | None] | None:
    """Reason and rule of the request in the access log."""
    flow = stage.agent.flow_from(outcome.source) if outcome.source else None
    if flow is None:
        return None
    extensions = flow["extensions"]["value"]
    return extensions["reason"], extensions["rule"]
