"""What a policy set would make of a recorded request. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from l7proxy.http.refused import Refused
from l7proxy.http.target import read_target
from l7proxy.observe.flows import AUDIT, DROPPED, ERROR, FORWARDED
from l7proxy.policy.decide import Decider, admit
from l7proxy.policy.model import PolicySet
from l7proxy.policy.verdict import Action, Admission, Verdict
from l7proxy.reasons import Reason
from l7proxy.replay import unknown
from l7proxy.replay.recorded import Cause, NotReplayed, Recorded
from l7proxy.workloads.model import Peer, Workload

_CONNECTIONS_MAX = 4096
_REQUESTS_MAX = 32768


class Outcome(NamedTuple):
    """What would become of a request: FORWARDED, AUDIT, ERROR (no backend) or DROPPED; and why."""

    verdict: str
    reason: str
    policy: str | None
    rule: str | None


class _Request:
    """A recorded request as rules see it."""

    __slots__ = ("_headers", "host", "method", "path")

    def __init__(self, recorded: Recorded, path: bytes) -> None:
        self.method = recorded.method
        self.path = path
        self.host = recorded.host
        self._headers = dict(recorded.headers)

    def header(self, name: bytes) -> bytes | None:
        return self._headers.get(name)


class _Connection(NamedTuple):
    """The deciders of one (client, server, port) and what is not known of its requests."""

    admission: Admission
    loosest: Decider
    strictest: Decider
    asked: frozenset[bytes]


class Judge:
    """Decides recorded requests by a policy set; what is alike is decided once.

    ``workloads`` None: they are not known, so that nothing can be said about the backends of
    forward rules.
    """

    def __init__(self, policies: PolicySet, workloads: Sequence[Workload] | None) -> None:
        self._policies = policies
        self._workloads = workloads
        self.headers, self.names_hosts = _looked_at(policies)
        self._connections: dict[tuple[Peer, Peer, int, frozenset[bytes]], _Connection] = {}
        self._decided: dict[tuple[object, ...], Outcome | NotReplayed] = {}

    def decide(self, recorded: Recorded) -> Outcome:
        """What would become of the request. Raises NotReplayed where its record leaves it open."""
        key = (
            recorded.client, recorded.server, recorded.port, recorded.method, recorded.target,
            recorded.host, recorded.headers,
        )  # fmt: skip
        found = self._decided.get(key)
        if found is None:
            if len(self._decided) >= _REQUESTS_MAX:
                self._decided.clear()
            try:
                found = self._decide(recorded)
            except NotReplayed as left_open:
                found = left_open
            self._decided[key] = found
        if isinstance(found, NotReplayed):
            raise found
        return found

    def _decide(self, recorded: Recorded) -> Outcome:
        missing = self.headers - {name for name, _ in recorded.headers}
        connection = self._connection(recorded.client, recorded.server, recorded.port, missing)
        path = recorded.target
        audit = connection.admission.audit
        if connection.admission.layers or (audit is not None and audit.recorded):
            try:
                target = read_target(recorded.method, recorded.target)
            except Refused as refused:
                return Outcome(DROPPED, refused.reason.value, None, None)
            if target.escaped_slash:
                return Outcome(DROPPED, Reason.ESCAPED_SLASH.value, None, None)
            path = target.path
        request = _Request(recorded, path)
        found = self._outcome(connection.loosest.decide(request))
        if (
            connection.strictest is not connection.loosest
            and self._outcome(connection.strictest.decide(request)).verdict != found.verdict
        ):
            names = b", ".join(sorted(connection.asked)).decode()
            raise NotReplayed(Cause.HEADERS, names)
        return found

    def _connection(
        self, client: Peer, server: Peer, port: int, missing: frozenset[bytes]
    ) -> _Connection:
        key = (client, server, port, missing)
        found = self._connections.get(key)
        if found is None:
            if len(self._connections) >= _CONNECTIONS_MAX:
                self._connections.clear()
            workloads = self._workloads or ()
            admission = admit(self._policies, workloads, client, server, port)
            asked = unknown.unknown_asked(admission, missing)
            loosest = strictest = Decider(unknown.loosest(admission, asked), workloads)
            if asked:
                strictest = Decider(unknown.strictest(admission, asked), workloads)
            found = self._connections[key] = _Connection(admission, loosest, strictest, asked)
        return found

    def _outcome(self, verdict: Verdict) -> Outcome:
        outcome = FORWARDED
        if verdict.action is Action.BLOCK:
            outcome = DROPPED
        elif verdict.reason is Reason.NO_BACKEND and self._workloads is not None:
            outcome = ERROR
        elif verdict.audit is not None:
            outcome, verdict = AUDIT, verdict.audit
        return Outcome(outcome, verdict.reason.value, verdict.policy, verdict.rule)


def _looked_at(policies: PolicySet) -> tuple[frozenset[bytes], bool]:
    """The header fields that rules ask for, and whether any asks for a host."""
    rules = [
        rule
        for policy in policies.policies
        for spec in policy.specs
        for side in (spec.ingress, spec.egress)
        if side is not None
        for traffic in side.allow
        for ports in traffic.ports or ()
        for rule in ports.http or ()
    ]
    asked = {header.name for rule in rules for header in rule.headers if header.mismatch is None}
    return frozenset(asked), any(rule.host is not None for rule in rules)
