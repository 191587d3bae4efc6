"""Records for the tests of this folder."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address
from typing import Any

from l7proxy.observe.flows import RequestRecord
from l7proxy.policy.verdict import Road
from l7proxy.proxy.ports import Endpoint
from l7proxy.reasons import Reason
from l7proxy.workloads.model import Workload

FRONTEND = Workload(
    "default", "frontend", {"app": "frontend", "env": "prod"}, (ip_address("10.0.0.1"),)
)
USERS = Workload("default", "users", {"app": "users"}, (ip_address("10.0.0.2"),))

SERVED = RequestRecord(
    time=1790000000.25,
    client=FRONTEND,
    client_endpoint=Endpoint(ip_address("10.0.0.1"), 40000),
    server=USERS,
    destination=Endpoint(ip_address("10.0.0.2"), 80),
    direction="INGRESS",
    road=Road.PROXY,
    method=b"GET",
    path=b"/users?page=1",
    host=b"users",
    protocol="HTTP/1.1",
    status=200,
    verdict="FORWARDED",
    reason=Reason.RULE_ALLOWED,
    policy="default/users-api",
    rule="list",
    latency_s=0.0021,
    request_bytes=80,
    response_bytes=512,
    request_id=b"4c1b",
)


def record(**changes: Any) -> RequestRecord:
    """A served request, but for ``changes``."""
    return dataclasses.replace(SERVED, **changes)


def denied(**changes: Any) -> RequestRecord:
    """A request that no rule matched, but for ``changes``."""
    return record(
        **{
            "status": 403,
            "verdict": "DROPPED",
            "reason": Reason.NO_RULE_MATCHED,
            "rule": None,
            "latency_s": None,
            **changes,
        }
    )
