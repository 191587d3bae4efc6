"""The parts that rules of policy documents are written with: selectors, ports, http rules."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
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


class Strict(BaseModel):
    """Nothing but the declared fields, each of exactly its type."""

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
    # Documents in use write "in" as well as "In".
    text = fields.quoted(value)
    for operator in Operator:
        if operator.value.lower() == text.lower():
            return operator
    known = ", ".join(operator.value for operator in Operator)
    raise ValueError(f"unknown operator {text!r}; known: {known}")


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
RuleEntity = Annotated[Entity, BeforeValidator(_entity)]
Block = Annotated[Network, BeforeValidator(fields.block)]
BlockOrAddress = Annotated[Network, BeforeValidator(fields.block_or_address)]


class Expression(Strict):
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


class LabelSelector(Strict):
    match_labels: dict[LabelKey, Text] = {}
    match_expressions: list[Expression] = []


class CidrRule(Strict):
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


class PortSpec(Strict):
    port: Port
    end_port: Port | None = None
    protocol: Annotated[Protocol, BeforeValidator(fields.protocol)] = Protocol.ANY

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end_port is not None and not 0 < self.port <= self.end_port:
            raise ValueError(f"endPort {self.end_port} is below port {self.port}, or port is 0")
        return self


class HeaderMatch(Strict):
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


class HttpRule(Strict):
    method: Pattern | None = None
    path: Pattern | None = None
    host: Pattern | None = None
    headers: list[Annotated[tuple[bytes, bytes | None], BeforeValidator(fields.header_line)]] = []
    header_matches: list[HeaderMatch] = []


class Forward(Strict):
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
