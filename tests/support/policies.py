"""Policies that several test towns share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def server_policy(http: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Everybody may reach pods with ``app: server`` at these ports, by these ``rules`` of each."""
    ports = [
        {"ports": [{"port": str(port), "protocol": "TCP"}], "rules": dict(rules)}
        for port, rules in http.items()
    ]
    return {
        "apiVersion": "l7proxy.io/v1alpha1",
        "kind": "L7Policy",
        "metadata": {"name": "server"},
        "spec": {
            "endpointSelector": {"matchLabels": {"app": "server"}},
            "ingress": [{"fromEntities": ["all"], "toPorts": ports}],
        },
    }
