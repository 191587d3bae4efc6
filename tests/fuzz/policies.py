"""Policy documents: refused with the place of every mistake, or one meaning in rules and tables."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from l7proxy.compiler import alphabets
from l7proxy.compiler.admission import compile_admission
from l7proxy.compiler.errors import Bounds, TooLarge, Unsupported
from l7proxy.compiler.execute import decide_tables
from l7proxy.limits import Limits
from l7proxy.policy.check import check
from l7proxy.policy.decide import Decider, admit
from l7proxy.policy.documents import SUFFIXES, PolicyErrors, load_text
from l7proxy.policy.explain import explain
from l7proxy.policy.model import (
    NAMESPACE_LABEL,
    HttpRule,
    Operator,
    PolicySet,
    RuleAction,
    Selector,
    TrafficRule,
)
from l7proxy.policy.verdict import Admission
from l7proxy.workloads.model import HOST, Peer, Workload, World
from tests.fuzz.target import Target, check_errors, check_line
from tests.policy.support import Request, request, world

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "policies", ROOT / "tests/policy/cilium")
NAME = "p.yaml"
LIMITS = Limits(policy_values=5000)
BOUNDS = Bounds(states=512, table_bytes=1 << 18, steps=20_000)
"""What compiles within a moment; the rest is for the target of patterns."""
CONNECTIONS = 16
REQUESTS = 8


def run(data: bytes) -> None:
    try:
        loaded = load_text(data, NAME, LIMITS)
    except PolicyErrors as errors:
        check_errors(errors, NAME, data)
        return
    assert load_text(data, NAME, LIMITS) == loaded
    for warning in check(loaded, unfit=lambda _: None).warnings:
        check_line(str(warning))
    peers = tuple(itertools.islice(_peers(loaded), CONNECTIONS))
    workloads = tuple(each for each in peers if isinstance(each, Workload))
    ports = (*_ports(loaded), 80)
    connections = itertools.product(peers, workloads, dict.fromkeys(ports))
    for client, server, port in itertools.islice(connections, CONNECTIONS):
        admission = admit(loaded, workloads, client, server, port)
        asked = [request("GET /"), *map(_request, itertools.islice(_rules(admission), REQUESTS))]
        decider = Decider(admission, workloads)
        for each in asked:
            told = explain(loaded, workloads, client, server, port, each)
            assert told.verdict == decider.decide(each)
        _check_tables(admission, decider, asked)


def _check_tables(admission: Admission, decider: Decider, asked: Iterable[Request]) -> None:
    """The tables decide as the reference does, or say why there are none."""
    if admission.audit is not None:
        return  # what is recorded takes the proxy's road
    try:
        tables = compile_admission(admission, BOUNDS)
    except TooLarge:
        return
    except Unsupported as error:
        rules = list(_rules(admission))
        needs_proxy = any(each.action is RuleAction.FORWARD or each.has_effects for each in rules)
        single_bytes = any("\\C" in f"{each.method}{each.path}{each.host}" for each in rules)
        assert needs_proxy or single_bytes, error.reason
        return
    for each in asked:
        assert decide_tables(tables, each) == decider.decide(each), each


def _peers(loaded: PolicySet) -> Iterator[Peer]:
    """Who the policies speak of: a workload for each selector, an address for each block."""
    for number, selector in enumerate(dict.fromkeys(_selectors(loaded))):
        yield _workload(selector, f"w{number}")
    yield HOST
    for rule in _traffic(loaded):
        for block in rule.peers.cidrs if rule.peers else ():
            yield World(block.network.network_address)
    yield world("192.0.2.1")


def _selectors(loaded: PolicySet) -> Iterator[Selector]:
    for policy in loaded.policies:
        for spec in policy.specs:
            yield spec.subject
    for rule in _traffic(loaded):
        yield from rule.peers.selectors if rule.peers else ()


def _traffic(loaded: PolicySet) -> Iterator[TrafficRule]:
    for policy in loaded.policies:
        for spec in policy.specs:
            for side in (spec.ingress, spec.egress):
                if side is not None:
                    yield from (*side.allow, *side.deny)


def _ports(loaded: PolicySet) -> Iterator[int]:
    for rule in _traffic(loaded):
        for element in rule.ports or ():
            for ports in element.ports:
                yield max(ports.first, 1)


def _workload(selector: Selector, name: str) -> Workload:
    """One that the selector selects, as far as that is easily said."""
    labels = {
        each.key: each.values[0] if each.values else "x"
        for each in selector.requirements
        if each.operator in (Operator.IN, Operator.EXISTS)
    }
    return Workload(labels.pop(NAMESPACE_LABEL, "default"), name, labels, netns=name)


def _rules(admission: Admission) -> Iterator[HttpRule]:
    for layer in admission.layers:
        yield from layer.rules


def _request(rule: HttpRule) -> Request:
    """A request that the rule may match: its patterns without what makes them patterns."""
    return Request(
        _plain(rule.method, alphabets.METHOD) or b"GET",
        b"/" + _plain(rule.path, alphabets.PATH).lstrip(b"/"),
        _plain(rule.host, alphabets.HOST),
        {each.name: b"x" if each.value is None else each.value for each in rule.headers},
    )


def _plain(pattern: str | None, alphabet: int) -> bytes:
    text = re.sub(r"[\\^$()*+?]|\{.*?\}|\|.*", "", pattern or "").encode()
    return bytes(byte for byte in text if alphabet >> byte & 1)


def seeds() -> Iterator[bytes]:
    """Cilium's examples and ours, one by one and, so that policies meet, all of ours together."""
    ours = []
    for folder in FOLDERS:
        for file in sorted(folder.rglob("*")):
            if file.suffix in SUFFIXES:
                ours += [file.read_bytes()] if folder == FOLDERS[0] else []
                yield file.read_bytes()
    yield b"\n---\n".join(ours)


TOKENS = (
    *b"apiVersion: kind: metadata: name: namespace: spec: specs: description:".split(b" "),
    *b"endpointSelector: matchLabels: matchExpressions: operator: values: key:".split(b" "),
    *b"ingress: egress: ingressDeny: egressDeny: enableDefaultDeny: audit:".split(b" "),
    *b"fromEndpoints: toEndpoints: fromEntities: toEntities: fromCIDR: toCIDR:".split(b" "),
    *b"fromCIDRSet: toCIDRSet: cidr: except: toPorts: ports: port: endPort: protocol:".split(b" "),
    *b"rules: http: HTTP: method: path: host: headers: headerMatches: mismatch: value:".split(b" "),
    *b"action: forward: address: endpoints: datapath: allow block proxy true false".split(b" "),
    *b"NotIn Exists DoesNotExist TCP UDP ANY ADD DELETE REPLACE LOG all world cluster".split(b" "),
    *(b"cilium.io/v2", b"l7proxy.io/v1alpha1", b"CiliumNetworkPolicy", b"L7Policy", b"k8s:"),
    *(b"CiliumClusterwideNetworkPolicy", b"io.kubernetes.pod.namespace", b"\n---\n", b"&a ", b"*a"),
    *(
        b"- {",
        b"{}",
        b"[]",
        b"!!str ",
        b"(?i)",
        b".*",
        b"[^/]+",
        b"\\d{1,3}",
        b"10.0.0.0/8",
        b"<<:",
    ),
)

TARGET = Target(run, seeds, TOKENS, most_bytes=8192)
