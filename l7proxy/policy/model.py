"""The frozen policy model: what a valid document becomes. An invalid one cannot become it.

Every class is immutable, comparable and picklable, so that a set can be handed to worker
processes. Regular expressions stay text here; ``l7proxy.policy.patterns`` compiles them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from ipaddress import IPv4Network, IPv6Network

from l7proxy.workloads.model import Address

Network = IPv4Network | IPv6Network

NAMESPACE_LABEL = "io.kubernetes.pod.namespace"


class Direction(StrEnum):
    """The side of a connection that a rule stands on."""

    EGRESS = "egress"
    INGRESS = "ingress"


@dataclass(frozen=True, slots=True)
class Source:
    """Where something was written: file and line, counted from 1.

    It is no part of what a rule means: rules and policies are compared, hashed and digested
    without it.
    """

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


NOWHERE = Source("", 0)


class Operator(Enum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label; ``key`` has no ``k8s:`` or ``any:`` prefix any more."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        key = "namespace" if self.key == NAMESPACE_LABEL else self.key
        match self.operator:
            case Operator.IN if len(self.values) == 1:
                return f"{key}={self.values[0]}"
            case Operator.IN:
                return f"{key} in ({', '.join(self.values)})"
            case Operator.NOT_IN:
                return f"{key} not in ({', '.join(self.values)})"
            case Operator.EXISTS:
                return key
            case Operator.DOES_NOT_EXIST:
                return f"!{key}"


@dataclass(frozen=True, slots=True)
class Selector:
    """Workloads that meet every requirement; with none, all of them."""

    requirements: tuple[Requirement, ...] = ()

    def __str__(self) -> str:
        return ", ".join(map(str, self.requirements)) or "every workload"


class Entity(Enum):
    ALL = "all"
    WORLD = "world"
    HOST = "host"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Cidr:
    """Addresses of the world inside ``network`` and outside every one of ``exceptions``."""

    network: Network
    exceptions: tuple[Network, ...] = ()

    def __str__(self) -> str:
        if not self.exceptions:
            return str(self.network)
        return f"{self.network} except {', '.join(map(str, self.exceptions))}"


@dataclass(frozen=True, slots=True)
class Peers:
    """The union of its parts. All parts empty: nobody, never everybody."""

    selectors: tuple[Selector, ...] = ()
    entities: tuple[Entity, ...] = ()
    cidrs: tuple[Cidr, ...] = ()

    def __str__(self) -> str:
        parts = [str(part) for part in (*self.selectors, *self.cidrs)]
        parts += [entity.value for entity in self.entities]
        return " or ".join(parts) or "nobody"


class Protocol(Enum):
    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"
    ANY = "ANY"


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports ``first`` to ``last``, both included; a single port has them equal."""

    first: int
    last: int
    protocol: Protocol = Protocol.TCP

    @property
    def enforced(self) -> bool:
        """Whether the range says anything about TCP, the one protocol that is enforced."""
        return self.protocol in (Protocol.TCP, Protocol.ANY)

    def __contains__(self, port: int) -> bool:
        return self.enforced and self.first <= port <= self.last

    def __str__(self) -> str:
        if (self.first, self.last) == (0, 65535):
            return "every port"
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a forward rule sends a request: a fixed address, or the workloads of a selector."""

    port: int
    address: Address | None = None
    selector: Selector | None = None

    def __str__(self) -> str:
        if self.address is None:
            return f"{self.selector}, port {self.port}"
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


class RuleAction(Enum):
    ALLOW = "allow"
    BLOCK = "block"
    FORWARD = "forward"


class Mismatch(Enum):
    """What a header that is absent or different does to its rule, other than not matching."""

    LOG = "LOG"
    ADD = "ADD"
    DELETE = "DELETE"
    REPLACE = "REPLACE"


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """A condition on one header; ``name`` is lower-case, ``value`` None asks for presence only.

    ``mismatch`` None: the rule does not match without it. Otherwise it matches anyway.
    """

    name: bytes
    value: bytes | None = None
    mismatch: Mismatch | None = None


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One http rule: every field that is not None must match.

    ``policy`` and ``label`` say which rule this is wherever it decides: the policy's display
    name, and the rule's own ``name`` or else its position in the document.
    """

    policy: str
    label: str
    action: RuleAction = RuleAction.ALLOW
    method: str | None = None
    path: str | None = None
    host: str | None = None
    headers: tuple[HeaderRule, ...] = ()
    backend: Backend | None = None
    source: Source = field(default=NOWHERE, compare=False, repr=False)

    @property
    def has_effects(self) -> bool:
        """Whether a match changes or logs something besides letting the request through."""
        return any(header.mismatch is not None for header in self.headers)

    @property
    def is_plain_allow(self) -> bool:
        """Whether the rule only ever lets requests through as they are."""
        return self.action is RuleAction.ALLOW and not self.has_effects


@dataclass(frozen=True, slots=True)
class PortRule:
    """One ``toPorts`` element: ports, and the http rules on them (None: L3/L4 only)."""

    ports: tuple[PortRange, ...]
    http: tuple[HttpRule, ...] | None = None
    force_proxy: bool = False
    source: Source = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TrafficRule:
    """One element of ``ingress``, ``egress``, ``ingressDeny`` or ``egressDeny``.

    ``peers`` None: no peer condition. ``ports`` None: no port condition. With neither, the rule
    is the empty one, which matches nobody.
    """

    label: str
    peers: Peers | None = None
    ports: tuple[PortRule, ...] | None = None
    source: Source = field(default=NOWHERE, compare=False, repr=False)

    @property
    def is_empty(self) -> bool:
        return self.peers is None and self.ports is None


@dataclass(frozen=True, slots=True)
class Side:
    """What a spec says about one direction; at least one of the two lists is not empty."""

    allow: tuple[TrafficRule, ...] = ()
    deny: tuple[TrafficRule, ...] = ()
    default_deny: bool = True


@dataclass(frozen=True, slots=True)
class Spec:
    """Rules for the workloads of one selector. A direction without rules is None.

    ``audit``: what the rules would refuse is recorded and not refused; nothing else of them has
    an effect.
    """

    subject: Selector
    ingress: Side | None = None
    egress: Side | None = None
    audit: bool = False
    source: Source = field(default=NOWHERE, compare=False, repr=False)

    def side(self, direction: Direction) -> Side | None:
        return self.ingress if direction is Direction.INGRESS else self.egress


@dataclass(frozen=True, slots=True)
class Policy:
    """One named document; ``namespace`` None for one that sees every namespace."""

    kind: str
    name: str
    namespace: str | None
    specs: tuple[Spec, ...]
    source: Source = field(default=NOWHERE, compare=False, repr=False)

    @property
    def display_name(self) -> str:
        """The name as kubectl users write it: the default namespace goes without saying."""
        return display_name(self.name, self.namespace)

    @property
    def audited(self) -> bool:
        """Whether any of it is decided and recorded, but not enforced."""
        return any(spec.audit for spec in self.specs)


def display_name(name: str, namespace: str | None) -> str:
    """``name``, preceded by ``namespace/`` unless that is the default one or there is none."""
    return name if namespace in (None, "default") else f"{namespace}/{name}"


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All policies in force, in deciding order; ``digest`` names their meaning, not their text."""

    policies: tuple[Policy, ...] = ()
    digest: str = ""

    @property
    def rule_count(self) -> int:
        """How many rules decide something: http rules, and port or peer rules without any."""
        return sum(
            max(1, sum(len(ports.http or ()) for ports in rule.ports or ()))
            for policy in self.policies
            for spec in policy.specs
            for side in (spec.ingress, spec.egress)
            if side is not None
            for rule in (*side.allow, *side.deny)
        )
