"""Records as the agent streams them, made by the code that makes the real ones."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from l7proxy.observe.flows import RequestRecord, to_flow
from l7proxy.policy.verdict import Road
from l7proxy.proxy.ports import Endpoint
from l7proxy.reasons import Reason
from l7proxy.workloads.model import Peer, Workload, World
from tests.observe.records import record

Json = dict[str, Any]

STATUS: Json = {
    "version": "0.1.0",
    "node": "worker-1",
    "state": "ready",
    "policy": {"revision": 7, "policies": 3, "rules": 11},
    "workloads": 8,
    "roads": {"splice": 1840, "kernel": 212, "proxy": 57, "refused": 9},
    "errors": [],
    "last_error": None,
}

NAMES = ("gateway", "frontend", "users", "orders", "auth", "intruder", "postgres", "reports")
PODS = {
    name: Workload("shop", name, {"app": name}, (ip_address(f"10.0.0.{at}"),))
    for at, name in enumerate(NAMES, 1)
}
WORLD = World(ip_address("198.51.100.7"))
WORKLOADS: Json = {
    "workloads": [{"namespace": each.namespace, "name": each.name} for each in PODS.values()]
}

EXPLAINED: Json = {
    "answer": {
        "verdict": "DROPPED",
        "action": "block",
        "backend": None,
        "policy": None,
        "rule": None,
        "reason": "no-rule-matched",
        "road": "kernel",
    },
    "exit_code": 22,
    "from": "shop/frontend",
    "to": "shop/users",
    "meaning": Reason.NO_RULE_MATCHED.meaning,
    "road_reason": "the HTTP rules only allow and block, and the server is on this node",
    "nearest": "users-api read-users (policies/users-api.yaml:24): method is PUT, "
    "the rule wants GET",
    "notes": [],
}

UNMATCHED: Json = {"reason": Reason.NO_RULE_MATCHED, "rule": None}

_ports = iter(range(20000, 10_000_000))


def flow(client: Peer, server: Workload, **changes: Any) -> Json:
    """A line of the stream: a request that was served a moment ago, but for ``changes``."""
    address = client.addresses[0] if isinstance(client, Workload) else WORLD.address
    made: RequestRecord = record(
        time=time.time(),
        client=client,
        client_endpoint=Endpoint(address, 1024 + next(_ports) % 60000),
        server=server,
        destination=Endpoint(server.addresses[0], 80),
        host=server.name.encode(),
        policy=f"{server.name}-api",
        rule="read",
        road=Road.KERNEL,
    )
    return to_flow(replace(made, **changes), "worker-1")


def refused(client: Peer, server: Workload, **changes: Any) -> Json:
    """A request that a block rule refused, but for ``changes``."""
    given = {"verdict": "DROPPED", "status": 403, "latency_s": None, "rule": "no-root"}
    return flow(client, server, **{**given, "reason": Reason.RULE_BLOCKED, **changes})


def lost(count: int) -> Json:
    """What the agent says where records were lost."""
    return {"lost_events": {"source": "EVENTS_RING_BUFFER", "num_events_lost": str(count)}}


def busy_shop() -> list[Json]:
    """A minute's traffic between all the pods but one, with a little of everything."""
    now = time.time()
    gateway, frontend, users, orders, auth, intruder, postgres, _ = PODS.values()
    lines: list[Json] = []

    def several(count: int, client: Peer, server: Workload, **changes: Any) -> None:
        make = refused if changes.pop("refused", False) else flow
        latency = changes.pop("latency", 0.002)
        for at in range(count):
            changes["time"] = now - 58 * (at + 0.5) / count
            if make is flow:
                changes["latency_s"] = latency * (1 + (at * 7919 % 97) / 40)
            lines.append(make(client, server, **changes))

    several(600, WORLD, gateway, path=b"/", latency=0.004, road=Road.PROXY)
    several(420, gateway, frontend, path=b"/shop", latency=0.003)
    several(260, frontend, users, path=b"/users/7", latency=0.0009, policy="users-api")
    several(24, frontend, users, path=b"/users/root", refused=True)
    several(180, frontend, orders, path=b"/orders?open=1", latency=0.012, road=Road.PROXY)
    several(60, gateway, auth, method=b"POST", path=b"/login", latency=0.021, road=Road.PROXY)
    several(12, intruder, users, path=b"/users", refused=True, **UNMATCHED)
    several(90, orders, postgres, path=b"/query", latency=0.0004)
    several(3, frontend, orders, verdict="ERROR", reason=Reason.UPSTREAM_TIMEOUT, status=504)
    return sorted(lines, key=lambda line: str(line["time"]))
