"""Documents: what is accepted, field by field, and what is refused with which words."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from l7proxy.policy.documents import load_paths
from l7proxy.policy.model import (
    Cidr,
    Entity,
    Operator,
    PortRange,
    Protocol,
    Requirement,
)
from tests.policy.support import http, only_rule, policies, policy, refusal


def test_a_file_holds_several_documents():
    loaded = policies(policy("ingress: [{}]", name="a"), policy("ingress: [{}]", name="b"))
    assert [each.name for each in loaded.policies] == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        ("CiliumNetworkPolicy", "cilium.io/v2"),
        ("CiliumClusterwideNetworkPolicy", "cilium.io/v2"),
        ("L7Policy", "l7proxy.io/v1alpha1"),
    ],
)
def test_each_kind_is_accepted_with_its_version_only(kind, version):
    text = policy("ingress: [{}]", kind=kind)
    assert policies(text).policies[0].kind == kind
    assert refusal(text.replace(version, "v1")) == [
        f"1: apiVersion: must be {version} for a {kind}"
    ]


def test_another_kind_is_refused():
    (error,) = refusal("apiVersion: v1\nkind: Pod\nmetadata: {name: x}")
    assert error.startswith("2: kind: 'Pod' is not a policy")


def test_a_bare_list_of_rules_is_a_policy_named_after_its_file(tmp_path):
    file = tmp_path / "legacy.json"
    file.write_text('[{"endpointSelector": {}, "ingress": [{"fromEndpoints": [{}]}]}]')
    (loaded,) = load_paths([file]).policies
    assert (loaded.name, loaded.namespace) == ("legacy", None)
    assert loaded.specs[0].ingress.allow[0].label == "[0].ingress[0]"


def test_spec_and_specs_hold_rules():
    text = policy("ingress: [{}]") + "\nspecs:\n- {endpointSelector: {}, egress: [{}]}\n"
    first, second = policies(text).policies[0].specs
    assert first.ingress is not None
    assert second.egress is not None


def test_a_document_without_spec_and_specs_is_refused():
    text = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: x}"
    assert refusal(text) == ["1: needs spec or specs"]


@pytest.mark.parametrize("port", ["80", '"80"'])
def test_ports_are_strings_or_numbers(port):
    rule = only_rule(policy(f"ingress: [{{toPorts: [{{ports: [{{port: {port}}}]}}]}}]"))
    assert rule.ports[0].ports == (PortRange(80, 80, Protocol.ANY),)


def test_selectors_have_labels_and_expressions():
    selector = """{matchLabels: {"k8s:app": users, "any:tier": web, zone: a}, matchExpressions: [
      {key: env, operator: NotIn, values: [dev, test]}, {key: gone, operator: DoesNotExist}]}"""
    subject = policies(policy("ingress: [{}]", selector=selector)).policies[0].specs[0].subject
    assert subject.requirements[:5] == (
        Requirement("app", Operator.IN, ("users",)),
        Requirement("tier", Operator.IN, ("web",)),
        Requirement("zone", Operator.IN, ("a",)),
        Requirement("env", Operator.NOT_IN, ("dev", "test")),
        Requirement("gone", Operator.DOES_NOT_EXIST),
    )


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("{key: a, operator: In}", "the operator In takes at least one value"),
        ("{key: a, operator: Exists, values: [b]}", "the operator Exists takes no values"),
        ("{key: a, operator: Like, values: [b]}", "unknown operator 'Like'"),
    ],
)
def test_expressions_that_mean_nothing_are_refused(expression, message):
    selector = f"{{matchExpressions: [{expression}]}}"
    (error,) = refusal(policy("ingress: [{}]", selector=selector))
    assert "5: spec.endpointSelector.matchExpressions[0]" in error
    assert message in error


@pytest.mark.parametrize(
    "label", ["reserved:init", "reserved.init", "container:x", "io.cilium.k8s.policy.cluster"]
)
def test_labels_that_no_workload_carries_are_refused(label):
    (error,) = refusal(policy("ingress: [{}]", selector=f'{{matchLabels: {{"{label}": x}}}}'))
    assert f"spec.endpointSelector.matchLabels.{label}:" in error


def test_entities_are_all_world_host_cluster():
    rule = only_rule(policy("ingress: [{fromEntities: [all, world, host, cluster]}]"))
    assert rule.peers.entities == (Entity.ALL, Entity.WORLD, Entity.HOST, Entity.CLUSTER)
    assert refusal(policy("ingress: [{fromEntities: [remote-node]}]")) == [
        "6: spec.ingress[0].fromEntities[0]: the entity 'remote-node' is not supported; "
        "known: all, world, host, cluster"
    ]


def test_address_blocks_with_exceptions():
    rule = only_rule(
        policy("ingress: [{fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.96.0.0/12]}]}]")
    )
    assert rule.peers.cidrs == (Cidr(ip_network("10.0.0.0/8"), (ip_network("10.96.0.0/12"),)),)
    rule = only_rule(policy('ingress: [{fromCIDR: [192.0.2.1, "2001:db8::/32"]}]'))
    assert [str(each) for each in rule.peers.cidrs] == ["192.0.2.1/32", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("fromCIDR: [10.0.0.0/33]", "'10.0.0.0/33' is not an address or an address block"),
        ("fromCIDRSet: [{cidr: 10.0.0.0}]", "'10.0.0.0' has no length: write 10.0.0.0/32"),
        (
            "fromCIDRSet: [{cidr: 10.0.0.0/8, except: [11.0.0.0/8]}]",
            "except: 11.0.0.0/8 is not inside 10.0.0.0/8",
        ),
    ],
)
def test_wrong_address_blocks_are_refused(field, message):
    (error,) = refusal(policy(f"ingress: [{{{field}}}]"))
    assert message in error


def test_different_kinds_of_peers_in_one_rule_are_refused():
    assert refusal(policy("ingress: [{fromEndpoints: [{}], fromCIDR: [10.0.0.0/8]}]")) == [
        "6: spec.ingress[0]: fromEndpoints and fromCIDR in one rule: write a rule for each"
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{port: 80, endPort: 90, protocol: TCP}", PortRange(80, 90, Protocol.TCP)),
        ("{port: 53, protocol: udp}", PortRange(53, 53, Protocol.UDP)),
        ("{port: 0}", PortRange(0, 65535, Protocol.ANY)),
    ],
)
def test_ports_have_an_end_and_a_protocol(spec, expected):
    rule = only_rule(policy(f"ingress: [{{toPorts: [{{ports: [{spec}]}}]}}]"))
    assert rule.ports[0].ports == (expected,)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{port: http}", "named port 'http': named ports are not supported"),
        ("{port: 65536}", "65536 is not a port number from 0 to 65535"),
        ("{port: -1}", "'-1' is not a port number from 0 to 65535"),
        ('{port: "080"}', "'080' is not a port number from 0 to 65535"),
        ("{port: true}", "must be a string, not true: quote it"),
        ("{port: 80, protocol: 1}", "protocol: must be a string, not 1: quote it"),
        ("{port: [80]}", "port: must be a string"),
        ("{port: {a: 1}}", "port: must be a string"),
        ("{port: 90, endPort: 80}", "endPort 80 is below port 90, or port is 0"),
        ("{port: 80, protocol: ICMP}", "'ICMP' is not one of TCP, UDP, SCTP, ANY"),
        ("{protocol: TCP}", "port: is missing"),
    ],
)
def test_wrong_ports_are_refused(spec, message):
    (error,) = refusal(policy(f"ingress: [{{toPorts: [{{ports: [{spec}]}}]}}]"))
    assert error.startswith("6: spec.ingress[0].toPorts[0].ports[0]")
    assert message in error


@pytest.mark.parametrize(
    ("where", "field"),
    [
        ("spec", "nodeSelector: {}"),
        ("spec", "log: {value: x}"),
        ("rule", "fromRequires: [{}]"),
        ("rule", "fromNodes: [{}]"),
        ("rule", "fromGroups: [{}]"),
        ("rule", "icmps: [{}]"),
        ("rule", "authentication: {mode: required}"),
        ("egress", "toFQDNs: [{matchName: a}]"),
        ("egress", "toServices: [{}]"),
        ("egress", "toNodes: [{}]"),
        ("egress", "toGroups: [{}]"),
        ("egress", "toRequires: [{}]"),
        ("ports", "terminatingTLS: {}"),
        ("ports", "originatingTLS: {}"),
        ("ports", "serverNames: [a]"),
        ("ports", "listener: {}"),
        ("rules", "kafka: [{}]"),
        ("rules", "dns: [{}]"),
        ("rules", "l7proto: x"),
        ("rules", "l7: [{}]"),
        ("cidr", "cidrGroupRef: x"),
        ("cidr", "cidrGroupSelector: {}"),
    ],
)
def test_fields_of_ciliums_schema_that_are_not_supported_are_named(where, field):
    text = {
        "spec": f"ingress: [{{}}]\n{field}",
        "rule": f"ingress:\n- {field}",
        "egress": f"egress:\n- {field}",
        "ports": f"egress:\n- toPorts:\n  - ports: [{{port: 80}}]\n    {field}",
        "rules": f"egress:\n- toPorts:\n  - ports: [{{port: 80}}]\n    rules:\n      {field}",
        "cidr": f"egress:\n- toCIDRSet:\n  - cidr: 10.0.0.0/8\n    {field}",
    }[where]
    document = policy(text, kind="CiliumNetworkPolicy")
    name = field.partition(":")[0]
    line = next(at for at, each in enumerate(document.splitlines(), 1) if f"{name}:" in each)
    (error,) = refusal(document)
    assert error.startswith(f"{line}: spec.")
    assert error.endswith(f"{name}: this field of Cilium's schema is not supported")


@pytest.mark.parametrize("where", ["top", "metadata", "spec", "rule", "ports", "selector"])
def test_an_unknown_field_is_an_error_everywhere_but_in_metadata(where):
    text = policy(http("{}"))
    text = {
        "top": text + "\nfoo: 1",
        "metadata": text.replace("{name: test}", "{name: test, uid: abc, labels: {a: b}}"),
        "spec": text + "\n  foo: 1",
        "rule": text.replace("- fromEndpoints", "- foo: 1\n    fromEndpoints"),
        "ports": text.replace("- ports", "- foo: 1\n      ports"),
        "selector": text.replace("{matchLabels: {app: users}}", "{matchLabel: {app: users}}"),
    }[where]
    if where == "metadata":
        assert policies(text).policies
        return
    (error,) = refusal(text)
    assert error.endswith(
        ("foo: unknown field", "matchLabel: unknown field; did you mean matchLabels?")
    )


def test_deny_rules_take_no_http_rules():
    text = policy(http("{}").replace("ingress:", "ingressDeny:"))
    assert refusal(text) == [
        "10: spec.ingressDeny[0].toPorts[0].rules: deny rules hold for L3/L4 only and take no rules"
    ]


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        ("ingress:", "spec.ingress"),
        ("ingress: [{fromEndpoints: }]", "spec.ingress[0].fromEndpoints"),
        ("ingress: [{fromCIDR: }]", "spec.ingress[0].fromCIDR"),
        ("ingress: [{toPorts: }]", "spec.ingress[0].toPorts"),
        (
            "ingress: [{fromEndpoints: [{matchLabels: }]}]",
            "spec.ingress[0].fromEndpoints[0].matchLabels",
        ),
    ],
)
def test_a_field_without_a_value_is_refused_not_read_as_everybody(rules, path):
    assert refusal(policy(rules)) == [f"6: {path}: is empty: give it a value or remove it"]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("ingress: [{toPorts: [{ports: []}]}]", "ports: needs at least one element"),
        (
            "ingress: [{toPorts: [{ports: [{port: 80}], rules: {http: []}}]}]",
            "http: needs at least one element",
        ),
        ("ingress: [{toPorts: [{ports: [{port: 80}], rules: {}}]}]", "rules.http: is missing"),
        (
            "ingress: [{toPorts: [{ports: [{port: 0}], rules: {http: [{}]}}]}]",
            "http rules need a port: port 0 stands for every port",
        ),
        ("enableDefaultDeny: {ingress: true}", "write ingress: [{}] to deny everything"),
        ("ingress: {}", "spec.ingress: must be a list"),
        ("ingress: [3]", "spec.ingress[0]: must be a mapping"),
        ("enableDefaultDeny: {ingress: 'no'}\ningress: [{}]", "must be true or false"),
    ],
)
def test_forms_that_could_mean_nothing_or_everything_are_refused(rules, message):
    (error,) = refusal(policy(rules))
    assert message in error


def test_a_clusterwide_policy_has_no_namespace():
    kind = "CiliumClusterwideNetworkPolicy"
    assert refusal(policy("ingress: [{}]", kind=kind, namespace="a")) == [
        f"3: metadata.namespace: a {kind} has no namespace"
    ]


def test_a_name_may_be_used_once_in_a_namespace():
    first = policy("ingress: [{}]")
    assert refusal(first, first) == [
        "10: metadata.name: L7Policy 'test' is already defined at test.yaml:3"
    ]
    other = policy("ingress: [{}]", namespace="other")
    assert [each.display_name for each in policies(other, first).policies] == ["test", "other/test"]


def test_labels_and_descriptions_and_a_servers_status_are_left_alone():
    text = policy(
        "description: why\nlabels: [{key: name, value: x}]\ningress: [{}]",
        kind="CiliumNetworkPolicy",
    )
    assert policies(text + "\nstatus: {conditions: []}\ndescription: older").policies
