"""What the fixtures give to the tests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POLICY = """\
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {name: users-api}
spec:
  endpointSelector: {matchLabels: {app: users}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: frontend}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules:
        http:
        - {name: read, method: GET, path: "/users(/.*)?"}
        - name: login
          method: POST
          path: /login
          action: forward
          forward: {endpoints: {matchLabels: {app: auth}}, port: 8080}
        - {name: no-root, path: "/users/root", action: block}
        - {name: keyed, path: /keyed, headers: ["X-Key: v"]}
"""

WORKLOADS = """\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata:
    name: frontend
    labels: {app: frontend}
    annotations: {l7proxy.io/netns: frontend}
  status: {podIP: 10.0.0.2}
- apiVersion: v1
  kind: Pod
  metadata:
    name: users
    labels: {app: users}
    annotations: {l7proxy.io/netns: users}
  status: {podIP: 10.0.0.3}
- apiVersion: v1
  kind: Pod
  metadata: {name: auth, labels: {app: auth}}
  status: {podIP: 10.0.0.4}
"""


@dataclass(frozen=True)
class Done:
    """A command that has run."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class FakeAgent:
    """``answers`` has status and document by path; ``asked`` what has been asked; ``headers`` are
    sent with every answer."""

    config: Path
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
