"""What the policy tests are written with: workloads, requests, and policies from short text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest

from l7proxy.policy.decide import Decider, admit
from l7proxy.policy.documents import PolicyErrors, load_text
from l7proxy.policy.model import PolicySet, TrafficRule
from l7proxy.policy.verdict import Admission, Verdict
from l7proxy.workloads.model import Peer, Workload, World


def workload(
    called: str, namespace: str = "default", /, *addresses: str, **labels: str
) -> Workload:
    """A workload on this node; ``app`` is its name unless labels are given."""
    return Workload(
        namespace,
        called,
        labels or {"app": called},
        tuple(map(ip_address, addresses)),
        netns=called,
    )


FRONTEND = workload("frontend", "default", "10.0.0.1")
USERS = workload("users", "default", "10.0.0.2")
AUTH = workload("auth", "default", "10.0.0.4")
INTRUDER = workload("intruder", "default", "10.0.0.9")
WORKLOADS = (FRONTEND, USERS, AUTH, INTRUDER)


def world(address: str) -> World:
    return World(ip_address(address))


@dataclass
class Request:
    """A request as the decision sees it: method, path with query, lower-cased host, headers."""

    method: bytes = b"GET"
    path: bytes = b"/"
    host: bytes = b"users"
    headers: Mapping[bytes, bytes] = field(default_factory=dict)

    def header(self, name: bytes) -> bytes | None:
        return self.headers.get(name)


def request(line: str, host: str = "users", **headers: str) -> Request:
    """``"GET /path"`` with headers, an underscore standing for a hyphen in their names."""
    method, path = line.split(" ", 1)
    named = {key.replace("_", "-").lower().encode(): v.encode() for key, v in headers.items()}
    return Request(method.encode(), path.encode(), host.encode(), named)


def policies(*documents: str) -> PolicySet:
    """A policy set from whole documents."""
    return load_text("\n---\n".join(map(textwrap.dedent, documents)), "test.yaml")


def policy(
    rules: str,
    *,
    name: str = "test",
    selector: str = "{matchLabels: {app: users}}",
    kind: str = "L7Policy",
    namespace: str | None = None,
) -> str:
    """One document: ``rules`` are the fields of ``spec`` besides its selector."""
    version = "l7proxy.io/v1alpha1" if kind == "L7Policy" else "cilium.io/v2"
    metadata = (
        f"{{name: {name}}}" if namespace is None else f"{{name: {name}, namespace: {namespace}}}"
    )
    body = textwrap.indent(textwrap.dedent(rules), "  ")
    return (
        f"apiVersion: {version}\nkind: {kind}\nmetadata: {metadata}\n"
        f"spec:\n  endpointSelector: {selector}\n{body}"
    )


def http(*rules: str, peers: str = "fromEndpoints: [{}]", port: int = 80) -> str:
    """Rules of a spec: ingress on one port with the given http rules."""
    listed = "".join(f"\n      - {rule}" for rule in rules)
    return (
        f"ingress:\n- {peers}\n  toPorts:\n  - ports: [{{port: {port}, protocol: TCP}}]\n"
        f"    rules:\n      http:{listed}\n"
    )


def admission(
    of: PolicySet, client: Peer = FRONTEND, server: Peer = USERS, port: int = 80
) -> Admission:
    return admit(of, WORKLOADS, client, server, port)


def verdict(
    of: PolicySet,
    what: Request | str,
    client: Peer = FRONTEND,
    server: Peer = USERS,
    port: int = 80,
) -> Verdict:
    """The verdict on one request, by default from the frontend to port 80 of users."""
    asked = request(what) if isinstance(what, str) else what
    return Decider(admission(of, client, server, port), WORKLOADS).decide(asked)


def refusal(*documents: str) -> list[str]:
    """The error lines of documents that must not load, without the file's name."""
    with pytest.raises(PolicyErrors) as caught:
        policies(*documents)
    return [str(error).removeprefix("test.yaml:") for error in caught.value.errors]


def only_rule(text: str) -> TrafficRule:
    """The single ingress rule of a single policy."""
    (rule,) = policies(text).policies[0].specs[0].ingress.allow
    return rule
