"""The accepted documents, field by field, strictly: what is not listed here is an error.

The classes mirror the documents; ``l7proxy.policy.build`` turns them into the model.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from l7proxy.policy.schema_parts import (
    BlockOrAddress,
    CidrRule,
    Forward,
    HttpRule,
    L7HttpRule,
    LabelSelector,
    PortSpec,
    RuleEntity,
    Strict,
    Text,
)

__all__ = [
    "CidrRule",
    "CiliumPolicy",
    "CiliumRules",
    "Forward",
    "HttpRule",
    "L7HttpRule",
    "L7Policy",
    "L7Spec",
    "LabelSelector",
    "PortSpec",
    "ProxyRules",
    "Rules",
    "Spec",
]


class CiliumRules(Strict):
    """``rules`` of Cilium's kinds; older documents spell the list ``HTTP``."""

    http: list[HttpRule] = Field(validation_alias=AliasChoices("http", "HTTP"), min_length=1)


class ProxyRules(Strict):
    """``rules`` of an L7Policy; ``datapath: proxy`` keeps the rule set off the kernel road."""

    http: list[L7HttpRule] = Field(validation_alias=AliasChoices("http", "HTTP"), min_length=1)
    datapath: Literal["auto", "proxy"] = "auto"


Rules = CiliumRules | ProxyRules
R = TypeVar("R", CiliumRules, ProxyRules)


class PortRule(Strict, Generic[R]):
    ports: list[PortSpec] = Field(min_length=1, max_length=40)
    rules: R | None = None

    @model_validator(mode="after")
    def _numbered(self) -> Self:
        if self.rules is not None and any(spec.port == 0 for spec in self.ports):
            raise ValueError("http rules need a port: port 0 stands for every port")
        return self


class DenyPortRule(Strict):
    ports: list[PortSpec] = Field(min_length=1, max_length=40)


def _at_most_one(**lists: Any) -> None:
    given = [name for name, value in lists.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} in one rule: write a rule for each")


class _IngressPeers(Strict):
    from_endpoints: list[LabelSelector] | None = None
    from_entities: list[RuleEntity] | None = None
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


class _EgressPeers(Strict):
    to_endpoints: list[LabelSelector] | None = None
    to_entities: list[RuleEntity] | None = None
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


class DefaultDeny(Strict):
    ingress: bool | None = None
    egress: bool | None = None


class RuleLabel(Strict):
    """A label of the rule itself: bookkeeping of Cilium's, without meaning for traffic."""

    key: Text
    value: Text = ""
    source: Text = ""


class Spec(Strict, Generic[R]):
    endpoint_selector: LabelSelector
    description: Text = ""
    labels: list[RuleLabel] = Field(default=[])
    ingress: list[Ingress[R]] = Field(default=[])
    egress: list[Egress[R]] = Field(default=[])
    ingress_deny: list[IngressDeny] = Field(default=[])
    egress_deny: list[EgressDeny] = Field(default=[])
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


class L7Spec(Spec[ProxyRules]):
    """``spec`` of an L7Policy; with ``audit: true`` it is decided and recorded, not enforced."""

    audit: bool = False


S = TypeVar("S", Spec[CiliumRules], L7Spec)


class Metadata(BaseModel):
    """An object's metadata; what a server adds to it (uid, managedFields, ...) is left alone."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    name: Annotated[Text, Field(min_length=1, max_length=253)]
    namespace: Annotated[Text, Field(min_length=1, max_length=63)] | None = None


class _Object(Strict, Generic[S]):
    api_version: Text
    kind: Text
    metadata: Metadata
    # Older documents of Cilium's have the description here.
    description: Text = ""
    spec: S | None = None
    specs: list[S] | None = Field(default=None, min_length=1)
    # A server's report on the object, as ``kubectl get -o yaml`` prints it.
    status: Any = None

    @model_validator(mode="after")
    def _has_rules(self) -> Self:
        if self.spec is None and self.specs is None:
            raise ValueError("needs spec or specs")
        return self


class CiliumPolicy(_Object[Spec[CiliumRules]]):
    """``CiliumNetworkPolicy`` and ``CiliumClusterwideNetworkPolicy``."""


class L7Policy(_Object[L7Spec]):
    """The same with ``audit``, and with ``action`` and ``forward`` on http rules."""
