"""What the kernel tells of single requests, as ``RequestRecord``s: decided there, ended there.

A refusal is told in one piece. A request that was let through is told when it is decided and again
when its answer is over, or its connection; in between it waits here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from l7proxy.datapath.addresses import unpacked
from l7proxy.datapath.layout import Layout
from l7proxy.datapath.names import FLOW_RECORDS, INGRESS, Doom
from l7proxy.datapath.reaper import TOLD_WHY
from l7proxy.datapath.ring import Ring
from l7proxy.datapath.rule_names import Attribution, RuleNames
from l7proxy.datapath.store import Store
from l7proxy.datapath.tallies import REASONS, method_and_version
from l7proxy.observe.flows import DROPPED, ERROR, FORWARDED, RequestRecord
from l7proxy.observe.glimpse import Glimpse, glimpse
from l7proxy.policy.verdict import Road
from l7proxy.proxy.ports import Endpoint
from l7proxy.reasons import Reason
from l7proxy.workloads.model import Address, Peer

WAITING_MAX = 65536
"""Requests that wait for their end; beyond, the oldest are given up, and counted as lost."""

_DOOMS = tuple(Doom)

Who = Callable[[int, Address], Peer]
"""Tells who has an identity, by its number and the address that was used."""


class FlowRecords:
    """Takes the records out of the ring. Not for several threads at once."""

    def __init__(self, store: Store, ring_bytes: int, names: RuleNames, who: Who) -> None:
        """Raises OSError."""
        self._ring = Ring(store.folder / FLOW_RECORDS, ring_bytes)
        self._request = Layout(store.layouts["request_records"]["value"])
        self._answer = Layout(store.layouts["answer_records"]["value"])
        self._names = names
        self._who = who
        self._waiting: dict[int, dict[int, tuple[dict[str, Any], Glimpse]]] = {}
        self._count = 0
        self._connections: dict[int, tuple[Any, ...]] = {}
        self._half = Layout(store.layouts["halves"]["key"])
        self._resets: list[RequestRecord] = []
        self.lost = 0
        """Requests whose end was waited for too long."""

    def take(self, most: int) -> Iterator[RequestRecord]:
        """What has come to its end, in that order; from ``most`` records of the kernel."""
        # The kernel's clock has stood still in sleep, so that the difference is taken each time.
        offset = time.time_ns() - time.monotonic_ns()
        resets, self._resets = self._resets, []
        yield from resets
        for packed in self._ring.take(most):
            if len(packed) == self._request.size:
                told = self._request.unpack(packed)
                told["time"] += offset
                found = glimpse(told["head"][: told["size"]])
                reason = REASONS[told["reason"]]
                if reason is Reason.RULE_ALLOWED:
                    self._wait(told, found)
                else:
                    yield self._refused(told, found, reason)
            else:
                yield from self._ended(self._answer.unpack(packed))

    def reset(self, exchange: dict[str, Any], doom: Doom) -> None:
        """A connection is given up; ``exchange`` is its struct http. It gets a record of its own,
        because what came last on it may have been no request yet."""
        half = self._half.unpack(exchange["server_key"])
        client, server = unpacked(half["client"]), unpacked(exchange["server_address"])
        self._resets.append(
            RequestRecord(
                time=time.time(),
                client=self._who(exchange["client"], client),
                client_endpoint=Endpoint(client, half["client_port"]),
                server=self._who(exchange["server"], server),
                destination=Endpoint(server, exchange["port"]),
                direction=INGRESS,
                road=Road.KERNEL,
                method=b"",
                path=b"",
                host=b"",
                protocol="",
                status=None,
                verdict=DROPPED,
                reason=Reason.CONNECTION_RESET,
                logged=(doom.meaning,),
            )
        )

    def close(self) -> None:
        """Let go. What waits for its end is forgotten."""
        self._ring.close()

    def _wait(self, told: dict[str, Any], found: Glimpse) -> None:
        if self._count >= WAITING_MAX:
            oldest = next(iter(self._waiting))
            given_up = len(self._waiting.pop(oldest))
            self._count -= given_up
            self.lost += given_up
        self._waiting.setdefault(told["exchange"], {})[told["number"]] = told, found
        self._count += 1

    def _ended(self, end: dict[str, Any]) -> Iterator[RequestRecord]:
        waiting = self._waiting.get(end["exchange"])
        if waiting is None:
            return
        doom = _DOOMS[end["doom"] - 1] if end["doom"] else None
        first = end["number"]
        numbers = list(waiting) if end["ended"] else [first] if first in waiting else []
        for number in numbers:
            told, found = waiting.pop(number)
            self._count -= 1
            answered = number == first and end["status"]
            if end["lost"] and not answered:
                why = self._names.attribution(told["rules_id"], told["rule"], Reason.RULE_ALLOWED)
                yield self._record(told, found, FORWARDED, why, None)
            else:
                yield self._served(told, found, end if answered else None, doom)
        if not waiting:
            del self._waiting[end["exchange"]]

    def _refused(self, told: dict[str, Any], found: Glimpse, reason: Reason) -> RequestRecord:
        why = self._names.attribution(told["rules_id"], told["rule"], reason)
        status = reason.status if told["told"] else None
        return self._record(told, found, DROPPED, why, status)

    def _served(
        self, told: dict[str, Any], found: Glimpse, end: dict[str, Any] | None, doom: Doom | None
    ) -> RequestRecord:
        why = self._names.attribution(told["rules_id"], told["rule"], Reason.RULE_ALLOWED)
        if doom is Doom.BROKEN:
            why = Attribution(Reason.BAD_CHUNK)
            return self._record(told, found, DROPPED, why, end["status"] if end else None)
        if end is not None:
            return self._record(told, found, FORWARDED, why, end["status"], end)
        lost = doom is not None and doom not in TOLD_WHY
        reason = Reason.CONNECTION_RESET if lost else Reason.UNANSWERED
        return self._record(told, found, ERROR, Attribution(reason, why.policy, why.rule), None)

    def _record(
        self,
        told: dict[str, Any],
        found: Glimpse,
        verdict: str,
        why: Attribution,
        status: int | None,
        end: dict[str, Any] | None = None,
    ) -> RequestRecord:
        client, client_endpoint, server, destination = self._ends(told)
        _, version = method_and_version(told["what"])
        return RequestRecord(
            time=told["time"] / 1e9,
            client=client,
            client_endpoint=client_endpoint,
            server=server,
            destination=destination,
            direction=INGRESS,
            road=Road.KERNEL,
            method=found.method,
            path=found.target,
            host=found.host,
            protocol=version,
            status=status,
            verdict=verdict,
            reason=why.reason,
            policy=why.policy,
            rule=why.rule,
            latency_s=end["latency"] / 1e6 if end else None,
            request_bytes=found.length or (end["request_content"] if end else 0),
            response_bytes=end["content"] if end else 0,
            request_id=found.request_id,
            weight=told["weight"],
            cut=found.cut,
        )

    def _ends(self, told: dict[str, Any]) -> tuple[Any, ...]:
        """The connection's ends, made once: the encoder knows connections by their objects."""
        known = self._connections.get(told["exchange"])
        if known is None or known[4:] != (told["client"], told["server"]):
            if len(self._connections) >= WAITING_MAX:
                self._connections.clear()
            client = unpacked(told["client_address"])
            server = unpacked(told["server_address"])
            known = self._connections[told["exchange"]] = (
                self._who(told["client"], client),
                Endpoint(client, told["client_port"]),
                self._who(told["server"], server),
                Endpoint(server, told["server_port"]),
                told["client"],
                told["server"],
            )
        return known[:4]
