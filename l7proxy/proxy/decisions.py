"""From a policy snapshot to the verdict for one request.

A snapshot is an immutable object that a new one replaces; a request is decided by the one that is
current when its head completes. What depends only on the connection's ends (the admission) is
worked out once per snapshot and kept.
"""

from __future__ import annotations

from l7proxy.policy import decide as policy
from l7proxy.policy.model import PolicySet
from l7proxy.policy.verdict import Action, Admission, RequestView, Verdict
from l7proxy.proxy.ports import Downstream
from l7proxy.workloads.model import Peer, Workload

# Clients outside the node come without end; beyond this the cache starts over.
_CACHED_DECIDERS = 4096


class Turns:
    """Counts forwarded requests, so that the backends of a forward rule take turns."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = 0


class Decider:
    """Decides the requests of one (client, server, port) under one snapshot."""

    __slots__ = ("_decide", "_turns", "admission", "client", "server")

    def __init__(
        self,
        client: Peer,
        server: Peer,
        admission: Admission,
        workloads: tuple[Workload, ...],
        turns: Turns,
    ) -> None:
        self.client = client
        self.server = server
        self.admission = admission
        self._decide = policy.Decider(admission, workloads).decide
        self._turns = turns

    def decide(self, request: RequestView) -> Verdict:
        """The verdict; a forward rule with several backends takes them in turn."""
        verdict = self._decide(request, self._turns.taken)
        if verdict.action is Action.FORWARD:
            self._turns.taken += 1
        return verdict


class PolicySnapshot:
    """One revision of the policies and the workloads they are about."""

    __slots__ = ("_by_id", "_deciders", "_policies", "_turns", "revision", "workloads")

    def __init__(self, policies: PolicySet, workloads: tuple[Workload, ...], revision: int) -> None:
        self.revision = revision
        self.workloads = workloads
        self._policies = policies
        self._turns = Turns()
        self._by_id = {each.id: each for each in workloads}
        self._deciders: dict[tuple[Peer, Peer, int], Decider] = {}

    def decider(self, ends: Downstream) -> Decider:
        """The decider for a connection.

        A workload is judged by its labels in this snapshot. One that is gone from it is judged
        by the labels it had when it connected: forgetting a server must not free it of policy.
        """
        client = self._current(ends.client)
        server = self._current(ends.server)
        port = ends.destination.port
        found = self._deciders.get((client, server, port))
        if found is None:
            if len(self._deciders) >= _CACHED_DECIDERS:
                self._deciders.clear()
            admission = policy.admit(self._policies, self.workloads, client, server, port)
            found = Decider(client, server, admission, self.workloads, self._turns)
            self._deciders[client, server, port] = found
        return found

    def _current(self, peer: Peer) -> Peer:
        return self._by_id.get(peer.id, peer) if isinstance(peer, Workload) else peer
