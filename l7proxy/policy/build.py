"""One document to one policy of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from l7proxy.policy import problems, schema, selectors
from l7proxy.policy.model import (
    Backend,
    Cidr,
    HeaderRule,
    HttpRule,
    Operator,
    Peers,
    Policy,
    PortRange,
    PortRule,
    Requirement,
    RuleAction,
    Selector,
    Side,
    Source,
    Spec,
    TrafficRule,
    display_name,
)
from l7proxy.yaml_lines import Document, Path

CLUSTERWIDE = "CiliumClusterwideNetworkPolicy"
RULE_LIST = "RuleList"
_CILIUM = "cilium.io/v2"
_KINDS: dict[str, tuple[str, Callable[[Any], schema.CiliumPolicy | schema.L7Policy]]] = {
    "CiliumNetworkPolicy": (_CILIUM, schema.CiliumPolicy.model_validate),
    CLUSTERWIDE: (_CILIUM, schema.CiliumPolicy.model_validate),
    "L7Policy": ("l7proxy.io/v1alpha1", schema.L7Policy.model_validate),
}
_LIST: TypeAdapter[list[schema.Spec[schema.CiliumRules]]] = TypeAdapter(
    list[schema.Spec[schema.CiliumRules]]
)
_LAST_PORT = 65535

T = TypeVar("T")
AnySpec = schema.Spec[schema.CiliumRules] | schema.Spec[schema.ProxyRules]
Findings = list[tuple[int, str]]


def policy(file: str, document: Document) -> tuple[Policy | None, Findings]:
    """The policy a document holds, or None with (line, message) for everything wrong in it."""
    if isinstance(document.value, list):
        return _rule_list(file, document)
    if isinstance(document.value, dict):
        return _object(file, document)
    return None, [(document.line, "a policy is a mapping, or a list of rules")]


def _rule_list(file: str, document: Document) -> tuple[Policy | None, Findings]:
    parsed, findings = _validated(document, _LIST.validate_python, ((),))
    if parsed is None:
        return None, findings
    name = PurePath(file).stem
    builder = _Builder(file, document, name, None)
    specs = tuple(builder.spec(spec, (at,)) for at, spec in enumerate(parsed))
    return Policy(RULE_LIST, name, None, specs, Source(file, document.line)), []


def _object(file: str, document: Document) -> tuple[Policy | None, Findings]:
    value = document.value
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        known = ", ".join(_KINDS)
        message = "is missing" if kind is None else f"{kind!r} is not a policy; known: {known}"
        return None, [problems.located(document, ("kind",), message)]
    api_version, validate = _KINDS[kind]
    if value.get("apiVersion") != api_version:
        message = f"must be {api_version} for a {kind}"
        return None, [problems.located(document, ("apiVersion",), message)]
    parsed, findings = _validated(document, validate, (("spec",), ("specs",)))
    if parsed is None:
        return None, findings
    namespace = parsed.metadata.namespace
    if kind == CLUSTERWIDE and namespace is not None:
        path = ("metadata", "namespace")
        return None, [problems.located(document, path, f"a {kind} has no namespace")]
    if kind != CLUSTERWIDE:
        namespace = namespace or "default"
    name = parsed.metadata.name
    builder = _Builder(file, document, name, namespace)
    specs: list[Spec] = []
    if parsed.spec is not None:
        specs.append(builder.spec(parsed.spec, ("spec",)))
    listed: Sequence[AnySpec] = parsed.specs or ()
    for at, spec in enumerate(listed):
        specs.append(builder.spec(spec, ("specs", at)))
    line = document.line_of(("metadata", "name"))
    return Policy(kind, name, namespace, tuple(specs), Source(file, line)), []


def _validated(
    document: Document, validate: Callable[[Any], T], roots: tuple[Path, ...]
) -> tuple[T | None, Findings]:
    """The validated document, or everything wrong with it; no field below ``roots`` is null."""
    empty = [path for root in roots for path in _nulls(document.value, root)]
    findings = [
        problems.located(document, path, "is empty: give it a value or remove it") for path in empty
    ]
    try:
        parsed = validate(document.value)
    except ValidationError as error:
        findings += problems.of_validation(error, document, empty)
        return None, findings
    return (None, findings) if findings else (parsed, [])


def _nulls(value: Any, root: Path) -> Iterable[Path]:
    for part in root:
        if part not in value:
            return ()
        value = value[part]
    return problems.nulls(value, root)


class _Builder:
    """Turns validated specs into the model, with names and places for its rules."""

    def __init__(self, file: str, document: Document, name: str, namespace: str | None) -> None:
        self._file = file
        self._document = document
        self._namespace = namespace
        self._policy = display_name(name, namespace)

    def spec(self, spec: AnySpec, path: Path) -> Spec:
        default = spec.enable_default_deny
        return Spec(
            subject=self._selector(spec.endpoint_selector),
            ingress=self._side(spec, path, "ingress", "from", default.ingress),
            egress=self._side(spec, path, "egress", "to", default.egress),
            audit=isinstance(spec, schema.L7Spec) and spec.audit,
            source=self._source(path),
        )

    def _side(
        self, spec: AnySpec, path: Path, direction: str, prefix: str, default_deny: bool | None
    ) -> Side | None:
        lists = []
        for field, written in ((direction, direction), (f"{direction}_deny", f"{direction}Deny")):
            rules = getattr(spec, field)
            lists.append(
                tuple(
                    self._rule(rule, (*path, written, at), prefix) for at, rule in enumerate(rules)
                )
            )
        allow, deny = lists
        if not allow and not deny:
            return None
        return Side(allow, deny, default_deny is not False)

    def _rule(self, rule: Any, path: Path, prefix: str) -> TrafficRule:
        ports: list[Any] | None = rule.to_ports
        return TrafficRule(
            label=_label(path),
            peers=self._peers(rule, prefix),
            ports=None
            if ports is None
            else tuple(self._ports(each, (*path, "toPorts", at)) for at, each in enumerate(ports)),
            source=self._source(path),
        )

    def _peers(self, rule: Any, prefix: str) -> Peers | None:
        endpoints: list[schema.LabelSelector] | None = getattr(rule, f"{prefix}_endpoints")
        entities = getattr(rule, f"{prefix}_entities")
        blocks = getattr(rule, f"{prefix}_cidr")
        block_sets: list[schema.CidrRule] | None = getattr(rule, f"{prefix}_cidr_set")
        if endpoints is None and entities is None and blocks is None and block_sets is None:
            return None
        return Peers(
            selectors=tuple(self._selector(selector) for selector in endpoints or ()),
            entities=tuple(entities or ()),
            cidrs=(
                *(Cidr(network) for network in blocks or ()),
                *(Cidr(each.cidr, tuple(each.excluded)) for each in block_sets or ()),
            ),
        )

    def _ports(self, rule: Any, path: Path) -> PortRule:
        ports = tuple(_port_range(spec) for spec in rule.ports)
        rules: schema.Rules | None = getattr(rule, "rules", None)
        if rules is None:
            return PortRule(ports, source=self._source(path))
        spelled = "http" if (*path, "rules", "http") in self._document.lines else "HTTP"
        http = tuple(
            self._http(each, (*path, "rules", spelled, at)) for at, each in enumerate(rules.http)
        )
        forced = isinstance(rules, schema.ProxyRules) and rules.datapath == "proxy"
        return PortRule(ports, http, forced, self._source(path))

    def _http(self, rule: schema.HttpRule, path: Path) -> HttpRule:
        action, backend, name = RuleAction.ALLOW, None, None
        if isinstance(rule, schema.L7HttpRule):
            action, name = RuleAction(rule.action), rule.name
            backend = self._backend(rule.forward) if rule.forward else None
        return HttpRule(
            policy=self._policy,
            label=name or _label(path),
            action=action,
            method=rule.method,
            path=rule.path,
            host=rule.host,
            headers=(
                *(HeaderRule(header, value) for header, value in rule.headers),
                *(
                    HeaderRule(match.name, match.value or None, match.mismatch)
                    for match in rule.header_matches
                ),
            ),
            backend=backend,
            source=self._source(path),
        )

    def _backend(self, forward: schema.Forward) -> Backend:
        if forward.address is not None:
            return forward.address
        # Validated together: without an address, both of these are there.
        assert forward.endpoints is not None
        assert forward.port is not None
        return Backend(forward.port, selector=self._selector(forward.endpoints))

    def _selector(self, selector: schema.LabelSelector) -> Selector:
        requirements = [
            Requirement(selectors.label_key(key), Operator.IN, (value,))
            for key, value in selector.match_labels.items()
        ]
        requirements += [
            Requirement(selectors.label_key(each.key), each.operator, tuple(each.values))
            for each in selector.match_expressions
        ]
        return selectors.scoped(requirements, self._namespace)

    def _source(self, path: Path) -> Source:
        return Source(self._file, self._document.line_of(path))


def _port_range(spec: schema.PortSpec) -> PortRange:
    if spec.port == 0:
        return PortRange(0, _LAST_PORT, spec.protocol)
    return PortRange(spec.port, spec.end_port or spec.port, spec.protocol)


def _label(path: Path) -> str:
    """A rule's position in its document, without the parts that never vary."""
    return problems.field_path(tuple(part for part in path if part not in ("spec", "rules")))
