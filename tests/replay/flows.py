"""Recorded flows for the tests of this folder: ours, as the access log has them, and Hubble's."""

from __future__ import annotations

import json
from typing import Any

from l7proxy.observe.flows import to_flow
from tests.observe.records import record


def ours(**changes: Any) -> dict[str, Any]:
    """A served GET of http://users/users?page=1 from frontend to users, but for ``changes``."""
    return to_flow(record(**changes), "n")


def hubble(
    verdict: str = "FORWARDED",
    method: str = "GET",
    url: str = "http://users/users",
    headers: dict[str, str] | None = None,
    **flow: Any,
) -> dict[str, Any]:
    """A request as Cilium 1.16's Hubble exports it, but for ``flow``."""
    listed = [{"key": key, "value": value} for key, value in (headers or {}).items()]
    http = {"method": method, "url": url, "protocol": "HTTP/1.1", "headers": listed}
    return {
        "flow": {
            "time": "2026-01-02T03:04:05.000000006Z",
            "uuid": "b9fab269-04ae-495c-a12d-b6c36d41de0d",
            "verdict": verdict,
            "IP": {"source": "10.0.1.5", "destination": "10.0.1.6", "ipVersion": "IPv4"},
            "l4": {"TCP": {"source_port": 40000, "destination_port": 80}},
            "source": endpoint("frontend"),
            "destination": endpoint("users"),
            "Type": "L7",
            "node_name": "kind/worker",
            "l7": {"type": "REQUEST", "http": http},
            "event_type": {"type": 129},
            "traffic_direction": "INGRESS",
            "is_reply": False,
            **flow,
        },
        "node_name": "kind/worker",
        "time": "2026-01-02T03:04:05.000000006Z",
    }


def endpoint(app: str) -> dict[str, Any]:
    return {
        "ID": 7,
        "identity": 4321,
        "namespace": "default",
        "labels": [
            f"k8s:app={app}",
            "k8s:io.cilium.k8s.policy.cluster=kind",
            "k8s:io.kubernetes.pod.namespace=default",
        ],
        "pod_name": f"{app}-6d4b75cb6d-x2x4z",
    }


def line(document: object) -> bytes:
    return json.dumps(document).encode() + b"\n"
