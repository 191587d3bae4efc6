"""What deciding yields: an admission for a connection, a verdict for a request, and a road."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from l7proxy.policy.model import Direction, HttpRule
from l7proxy.reasons import Reason
from l7proxy.workloads.model import Address


class RequestView(Protocol):
    """What a rule may look at. ``l7proxy.http.request.Request`` is one."""

    @property
    def method(self) -> bytes: ...
    @property
    def path(self) -> bytes:
        """The normalised path with the query string as sent."""

    @property
    def host(self) -> bytes:
        """The authority, lower-cased, with its port as sent."""

    def header(self, name: bytes) -> bytes | None:
        """The value of the lower-case ``name``, repeats joined with ``,``; None if absent."""


class Action(Enum):
    ALLOW = "allow"
    BLOCK = "block"
    FORWARD = "forward"


class Road(Enum):
    """The way a connection's bytes take: one of three roads, or none at all."""

    SPLICE = "splice"
    KERNEL = "kernel"
    PROXY = "proxy"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class HttpLayer:
    """The HTTP rules of one direction that apply to one (client, server, port), in order.

    ``moot`` is true when an L3/L4 allow without HTTP rules makes the allow lists of this layer
    moot, ``default_allow`` when default deny is off: in both cases what no rule matches is let
    through, while block rules still block, and forward rules and header changes still act.
    """

    direction: Direction
    rules: tuple[HttpRule, ...]
    moot: bool = False
    default_allow: bool = False
    force_proxy: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a connection may be made at all, and the HTTP layers its requests must pass.

    ``policy`` and ``rule`` name what allowed or refused the connection, where one rule did.
    ``layers`` stand in the order a request meets them: egress of the client, ingress of the
    server. Without layers nobody looks at requests. All this is what is enforced; ``audit`` says
    what audited policies would refuse beyond it, None where that is nothing.
    """

    allowed: bool
    reason: Reason
    policy: str | None = None
    rule: str | None = None
    layers: tuple[HttpLayer, ...] = ()
    audit: Audit | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """Audited policies that could refuse more of an allowed connection than is refused.

    ``together`` is the admission as if they were enforced too; ``policies`` are their names.
    ``recorded``: the connection goes through the proxy, which records what they would refuse.
    Otherwise nobody looks at it, since no HTTP rule names its server and port.
    """

    together: Admission
    policies: tuple[str, ...]
    recorded: bool


@dataclass(frozen=True, slots=True)
class HeaderEdit:
    """A change to the forwarded request: ``value`` None removes the field, else sets or adds it."""

    name: bytes
    value: bytes | None
    append: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one request.

    ``backend`` is set when ``action`` is FORWARD and one exists; where none does, ``reason`` is
    NO_BACKEND. ``edits`` are to be made in order; ``logged`` says which header conditions a
    matching rule waived. ``audit`` is the refusal that audited policies would have answered in
    place of this verdict: to be recorded, not carried out.
    """

    action: Action
    reason: Reason
    policy: str | None = None
    rule: str | None = None
    backend: tuple[Address, int] | None = None
    edits: tuple[HeaderEdit, ...] = ()
    logged: tuple[str, ...] = ()
    audit: Verdict | None = None
