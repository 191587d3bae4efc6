"""Cilium's published examples: each loads unchanged, or is refused for the field named here."""

from __future__ import annotations

from pathlib import Path

import pytest

from l7proxy.policy.documents import SUFFIXES, PolicyErrors, load_paths
from l7proxy.policy.verdict import Action
from tests.policy.support import admission, request, verdict, workload

FOLDER = Path(__file__).parent / "cilium"

LOADED = [
    "kubernetes-es/es-sw-policy.yaml",
    "kubernetes-grpc/cc-door-ingress-security.yaml",
    "minikube/sw_deny_policy.yaml",
    "minikube/sw_l3_l4_l7_policy.yaml",
    "minikube/sw_l3_l4_policy.yaml",
    "policies/getting-started/cilium_dkr_demo_l7-policy-230817.yaml",
    "policies/getting-started/l7-policy.json",
    "policies/getting-started/l7-policy.yaml",
    "policies/http.json",
    "policies/kubernetes/clusterwide/clusterscope-policy.yaml",
    "policies/kubernetes/clusterwide/wildcard-from-endpoints.yaml",
    "policies/kubernetes/namespace/isolate-namespaces.yaml",
    "policies/kubernetes/namespace/kubedns-policy.yaml",
    "policies/kubernetes/namespace/namespace-policy.yaml",
    "policies/l3/cidr/cidr.json",
    "policies/l3/cidr/cidr.yaml",
    "policies/l3/egress-allow-all/egress-allow-all.yaml",
    "policies/l3/egress-default-deny/egress-default-deny.yaml",
    "policies/l3/egress-deny/egress-deny.yaml",
    "policies/l3/entities/from_world_deny.yaml",
    "policies/l3/entities/host.json",
    "policies/l3/entities/world.yaml",
    "policies/l3/ingress-allow-all/ingress-allow-all.yaml",
    "policies/l3/match-expressions/and-statement.yaml",
    "policies/l3/match-expressions/or-statement.yaml",
    "policies/l3/simple/l3_egress.yaml",
    "policies/l4/cidr_l4_combined.yaml",
    "policies/l4/l3_l4_combined.yaml",
    "policies/l4/l4.yaml",
    "policies/l4/l4_port_range.yaml",
    "policies/l4/multi_rule.json",
    "policies/l4/multi_rule.yaml",
    "policies/l7.yaml",
    "policies/l7/http/http.yaml",
    "policies/l7/http/l7_multi.json",
    "policies/l7/http/l7_multi.yaml",
    "policies/l7/http/simple/l7.json",
    "policies/l7/http/simple/l7.yaml",
]

# Every error of the file, as line and field.
REFUSED = {
    "minikube/dns_policy_with_l7.yaml": ["10: specs[0].egress[0].toFQDNs"],
    "minikube/l3_l4_l7_policy.yaml": ["1: apiVersion"],
    "minikube/malformed_policy.yaml": [
        "7: spec.endpointSelector",
        "8: spec.podSelector",
        "11: spec.egress",
    ],
    "policies/auth/auth.yaml": ["13: spec.egress[0].auth"],
    "policies/host/lock-down-ingress.yaml": ["7: spec.nodeSelector"],
    "policies/kubernetes/clusterwide/health.yaml": [
        "8: spec.endpointSelector.matchLabels.reserved:health",
        "11: spec.ingress[0].fromEntities[0]",
        "14: spec.egress[0].toEntities[0]",
    ],
    "policies/kubernetes/serviceaccount/serviceaccount-policy.yaml": [
        "8: spec.endpointSelector.matchLabels.io.cilium.k8s.policy.serviceaccount",
        "12: spec.ingress[0].fromEndpoints[0].matchLabels.io.cilium.k8s.policy.serviceaccount",
    ],
    "policies/l3/entities/nodes.yaml": ["12: spec.ingress[0].fromEntities[1]"],
    "policies/l3/requires/requires.yaml": ["11: specs[0].ingress[0].fromRequires"],
    "policies/l3/service/service.yaml": ["10: spec.egress[0].toServices"],
    "policies/l4/envoy_listener_redirect.yaml": [
        "10: spec.egress[0].toFQDNs",
        "16: spec.egress[0].toPorts[0].listener",
    ],
    "policies/l4/icmp.yaml": ["10: spec.egress[0].icmps"],
    "policies/l4/init.yaml": ["8: specs[0].endpointSelector.matchLabels.reserved.init"],
    "policies/l4/l4_sni.yaml": ["14: spec.egress[0].toPorts[0].serverNames"],
    "policies/l7/dns/dns-visibility.yaml": [
        "12: spec.egress[0].toEndpoints[0].matchLabels.k8s.io.kubernetes.pod.namespace",
        "19: spec.egress[0].toPorts[0].rules.dns",
        "21: spec.egress[1].toFQDNs",
    ],
    "policies/l7/kafka/kafka.yaml": ["19: spec.ingress[0].toPorts[0].rules.kafka"],
}


def test_every_file_is_accounted_for():
    files = {
        path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.suffix in SUFFIXES
    }
    assert files == {*LOADED, *REFUSED}


@pytest.mark.parametrize("file", LOADED)
def test_loads_unchanged(file):
    assert load_paths([FOLDER / file]).rule_count > 0


@pytest.mark.parametrize("file", REFUSED)
def test_is_refused_with_the_field_named(file):
    with pytest.raises(PolicyErrors) as caught:
        load_paths([FOLDER / file])
    found = [f"{error.line}: {error.message.split(': ')[0]}" for error in caught.value.errors]
    assert found == REFUSED[file]


TIEFIGHTER = workload("tiefighter", "default", org="empire")
XWING = workload("xwing", "default", org="alliance")
DEATHSTAR = workload("deathstar", "default", **{"org": "empire", "class": "deathstar"})


def test_the_star_wars_guide_comes_out_as_it_says():
    loaded = load_paths([FOLDER / "minikube/sw_l3_l4_l7_policy.yaml"])
    landing = verdict(loaded, "POST /v1/request-landing", TIEFIGHTER, DEATHSTAR)
    exhaust = verdict(loaded, "PUT /v1/exhaust-port", TIEFIGHTER, DEATHSTAR)
    assert (landing.action, exhaust.action) == (Action.ALLOW, Action.BLOCK)
    assert not admission(loaded, XWING, DEATHSTAR).allowed


def test_yaml_and_json_of_one_example_decide_alike():
    yaml = load_paths([FOLDER / "policies/l7/http/l7_multi.yaml"])
    json = load_paths([FOLDER / "policies/l7/http/l7_multi.json"])
    prod = workload("prod", "default", env="prod")
    service = workload("service", "default")
    for line in ("GET /public", "POST /public"):
        for host in ("external-service.org", "other.org"):
            asked = request(line, host=host)
            assert (
                verdict(yaml, asked, prod, service).action
                is verdict(json, asked, prod, service).action
            )


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("GET /sidious/tome/dark", True),
        ("GET /sidious/tome/dark/page", True),
        ("GET /sidious/_search/", True),
        ("GET /sidious/tome/dark/page/more", False),
        ("DELETE /sidious/tome/dark", False),
    ],
)
def test_anchors_and_lazy_quantifiers_mean_what_envoy_takes_them_for(line, allowed):
    loaded = load_paths([FOLDER / "kubernetes-es/es-sw-policy.yaml"])
    sidious = workload("sidious", "default", name="sidious", role="lord")
    search = workload("es", "default", component="elasticsearch")
    answer = verdict(loaded, line, sidious, search, port=9200)
    assert (answer.action is Action.ALLOW) is allowed
