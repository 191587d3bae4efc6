"""The accepted documents, field by field, strictly: what is not listed here is an error.

The classes mirror the documents; ``l7proxy.policy.documents`` turns them into the model.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.alias_generators import to_camel

from l7proxy.policy import fields, selectors
from l7proxy.policy.model import Backend, Entity, Mismatch, Network, Operator, Protocol

_CILIUM_ENTITIES = frozenset(
    {
        "health",
        "init",
        "ingress",
        "kube-apiserver",
        "none",
        "remote-node",
        "unmanaged",
        "world-ipv4",
        "world-ipv6",
    }
)


class _Strict(BaseModel):
    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        arbitrary_types_allowed=True,
    )


def _entity(value: Any) -> Entity:
    text = fields.quoted(value)
    try:
        return Entity(text)
    except ValueError:
        known = ", ".join(entity.value for entity in Entity)
        if text in _CILIUM_ENTITIES:
            raise ValueError(f"the entity {text!r} is not supported; known: {known}") from None
        raise ValueError(f"unknown entity {text!r}; known: {known}") from None


def _operator(value: Any) -> Operator:
    text = fields.quoted(value)
    try:
        return Operator(text)
    except ValueError:
        known = ", ".join(operator.value for operator in Operator)
        raise ValueError(f"unknown operator {text!r}; known: {known}") from None


def _mismatch(value: Any) -> Mismatch:
    text = fields.quoted(value)
    try:
        return Mismatch(text)
    except ValueError:
        known = ", ".join(mismatch.value for mismatch in Mismatch)
        raise ValueError(f"unknown mismatch action {text!r}; known: {known}") from None


def _label_key(written: str) -> str:
    # Kept as written: "k8s:app" and "app" in one selector are two conditions on one label.
    selectors.label_key(written)
    return written


def _backend_port(number: int) -> int:
    if number == 0:
        raise ValueError("a backend's port is from 1 to 65535")
    return number


Text = Annotated[str, BeforeValidator(fields.quoted)]
LabelKey = Annotated[str, BeforeValidator(fields.quoted), AfterValidator(_label_key)]
Port = Annotated[int, BeforeValidator(fields.port)]
Pattern = Annotated[str, BeforeValidator(fields.pattern)]
Block = Annotated[Network, BeforeValidator(fields.block)]
BlockOrAddress = Annotated[Network, BeforeValidator(fields.block_or_address)]


class Expression(_Strict):
    key: LabelKey
    operator: Annotated[Operator, BeforeValidator(_operator)]
    values: list[Text] = []

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        wants_values = self.operator in (Operator.IN, Operator.NOT_IN)
        if wants_values != bool(self.values):
            need = "at least one value" if wants_values else "no values"
            raise ValueError(f"the operator {self.operator.value} takes {need}")
        return self


class LabelSelector(_Strict):
    match_labels: dict[LabelKey, Text] = {}
    match_expressions: list[Expression] = []


class CidrRule(_Strict):
    cidr: Block
    # "except" is a keyword of Python.
    excluded: list[Block] = Field(default=[], alias="except")

    @model_validator(mode="after")
    def _inside(self) -> Self:
        for hole in self.excluded:
            if hole.version != self.cidr.version or not (
                hole.network_address in self.cidr and hole.prefixlen >= self.cidr.prefixlen
            ):
                raise ValueError(f"except: {hole} is not inside {self.cidr}")
        return self


class PortSpec(_Strict):
    port: Port
    end_port: Port | None = None
    protocol: Annotated[Protocol, BeforeValidator(fields.protocol)] = Protocol.ANY

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end_port is not None and not 0 < self.port <= self.end_port:
            raise ValueError(f"endPort {self.end_port} is below port {self.port}, or port is 0")
        return self


class HeaderMatch(_Strict):
    name: Annotated[bytes, BeforeValidator(fields.header_name)]
    value: Annotated[bytes, BeforeValidator(fields.header_value)] = b""
    mismatch: Annotated[Mismatch, BeforeValidator(_mismatch)] | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.mismatch in (Mismatch.ADD, Mismatch.REPLACE) and not self.value:
            raise ValueError(f"mismatch {self.mismatch.value} needs a value to write")
        if self.mismatch not in (None, Mismatch.LOG):
            fields.check_editable(self.name)
        return self


class HttpRule(_Strict):
    method: Pattern | None = None
    path: Pattern | None = None
    host: Pattern | None = None
    headers: list[Annotated[tuple[bytes, bytes | None], BeforeValidator(fields.header_line)]] = []
    header_matches: list[HeaderMatch] = []


class Forward(_Strict):
    address: Annotated[Backend, BeforeValidator(fields.backend_address)] | None = None
    endpoints: LabelSelector | None = None
    port: Annotated[Port, AfterValidator(_backend_port)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.address is not None:
            if self.endpoints is not None or self.port is not None:
                raise ValueError("write either address, or endpoints and port")
        elif self.endpoints is None or self.port is None:
            raise ValueError("needs address, or endpoints and port")
        return self


class L7HttpRule(HttpRule):
    action: Literal["allow", "block", "forward"] = "allow"
    forward: Forward | None = None
    name: Annotated[Text, Field(min_length=1, max_length=63)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.action == "forward") != (self.forward is not None):
            raise ValueError("action: forward and the field forward belong together")
        if self.action == "block" and any(match.mismatch for match in self.header_matches):
            raise ValueError("mismatch has no meaning on a block rule: the rule would block anyway")
        return self


class CiliumRules(_Strict):
    """``rules`` of Cilium's kinds; older documents spell the list ``HTTP``."""

    http: list[HttpRule] = Field(validation_alias=AliasChoices("http", "HTTP"), min_length=1)


class ProxyRules(_Strict):
    """``rules`` of an L7Policy; ``datapath: proxy`` keeps the rule set off the kernel road."""

    http: list[L7HttpRule] = Field(validation_alias=AliasChoices("http", "HTTP"), min_length=1)
    datapath: Literal["auto", "proxy"] = "auto"


Rules = CiliumRules | ProxyRules
R = TypeVar("R", CiliumRules, ProxyRules)


class PortRule(_Strict, Generic[R]):
    ports: list[PortSpec] = Field(min_length=1, max_length=40)
    rules: R | None = None

    @model_validator(mode="after")
    def _numbered(self) -> Self:
        if self.rules is not None and any(spec.port == 0 for spec in self.ports):
            raise ValueError("http rules need a port: port 0 stands for every port")
        return self


class DenyPortRule(_Strict):
    ports: list[PortSpec] = Field(min_length=1, max_length=40)


def _at_most_one(**lists: Any) -> None:
    given = [name for name, value in lists.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} in one rule: write a rule for each")


class _IngressPeers(_Strict):
    from_endpoints: list[LabelSelector] | None = None
    from_entities: list[Annotated[Entity, BeforeValidator(_entity)]] | None = None
    from_cidr: list[BlockOrAddress] | None = Field(default=None, alias="fromCIDR")
    from_cidr_set: list[CidrRule] | None = Field(default=None, alias="fromCIDRSet")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        _at_most_one(
            fromEndpoints=self.from_endpoints,
            fromEntities=self.from_entities,
            fromCIDR=self.from_cidr,
            fromCIDRSet=self.from_cidr_set,
        )
        return self


class _EgressPeers(_Strict):
    to_endpoints: list[LabelSelector] | None = None
    to_entities: list[Annotated[Entity, BeforeValidator(_entity)]] | None = None
    to_cidr: list[BlockOrAddress] | None = Field(default=None, alias="toCIDR")
    to_cidr_set: list[CidrRule] | None = Field(default=None, alias="toCIDRSet")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        _at_most_one(
            toEndpoints=self.to_endpoints,
            toEntities=self.to_entities,
            toCIDR=self.to_cidr,
            toCIDRSet=self.to_cidr_set,
        )
        return self


class Ingress(_IngressPeers, Generic[R]):
    to_ports: list[PortRule[R]] | None = None


class Egress(_EgressPeers, Generic[R]):
    to_ports: list[PortRule[R]] | None = None


class IngressDeny(_IngressPeers):
    to_ports: list[DenyPortRule] | None = None


class EgressDeny(_EgressPeers):
    to_ports: list[DenyPortRule] | None = None


class DefaultDeny(_Strict):
    ingress: bool | None = None
    egress: bool | None = None


class RuleLabel(_Strict):
    """A label of the rule itself: bookkeeping of Cilium's, without meaning for traffic."""

    key: Text
    value: Text = ""
    source: Text = ""


class Spec(_Strict, Generic[R]):
    endpoint_selector: LabelSelector
    description: Text = ""
    labels: list[RuleLabel] = []
    ingress: list[Ingress[R]] = []
    egress: list[Egress[R]] = []
    ingress_deny: list[IngressDeny] = []
    egress_deny: list[EgressDeny] = []
    enable_default_deny: DefaultDeny = DefaultDeny()

    @model_validator(mode="after")
    def _default_deny_holds(self) -> Self:
        for direction, rules in (
            ("ingress", self.ingress or self.ingress_deny),
            ("egress", self.egress or self.egress_deny),
        ):
            if getattr(self.enable_default_deny, direction) and not rules:
                raise ValueError(
                    f"enableDefaultDeny.{direction}: true has no effect without {direction} rules; "
                    f"write {direction}: [{{}}] to deny everything"
                )
        return self


class Metadata(BaseModel):
    """An object's metadata; what a server adds to it (uid, managedFields, ...) is left alone."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    name: Annotated[Text, Field(min_length=1, max_length=253)]
    namespace: Annotated[Text, Field(min_length=1, max_length=63)] | None = None


class _Object(_Strict, Generic[R]):
    api_version: Text
    kind: Text
    metadata: Metadata
    spec: Spec[R] | None = None
    specs: list[Spec[R]] | None = Field(default=None, min_length=1)
    # A server's report on the object, as ``kubectl get -o yaml`` prints it.
    status: Any = None

    @model_validator(mode="after")
    def _has_rules(self) -> Self:
        if self.spec is None and self.specs is None:
            raise ValueError("needs spec or specs")
        return self


class CiliumPolicy(_Object[CiliumRules]):
    """``CiliumNetworkPolicy`` and ``CiliumClusterwideNetworkPolicy``."""


class L7Policy(_Object[ProxyRules]):
    """The same with ``action`` and ``forward`` on http rules."""
