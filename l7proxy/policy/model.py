"""The frozen policy model: what a valid document becomes. An invalid one cannot become it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a forward rule sends a request: a fixed address, or the workloads of a selector."""

    port: int
    address: IPv4Address | IPv6Address | None = None
    selector: object | None = None


class RuleAction(Enum):
    ALLOW = "allow"
    BLOCK = "block"
    FORWARD = "forward"


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One http rule. Placeholder shape: the policy package owns it."""

    policy: str
    index: int
    name: str | None
    action: RuleAction = RuleAction.ALLOW
