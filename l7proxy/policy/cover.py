"""Whether one rule holds wherever another does, told from the text of the two alone.

Every answer True is sure; False may only mean that it takes more than comparing to see.
"""

from __future__ import annotations

from l7proxy.policy import patterns
from l7proxy.policy.model import (
    Cidr,
    Entity,
    HttpRule,
    Peers,
    PortRange,
    Selector,
    TrafficRule,
)


def selector(wide: Selector, narrow: Selector) -> bool:
    """Whether every workload of ``narrow`` is one of ``wide``."""
    return set(wide.requirements) <= set(narrow.requirements)


def peers(wide: Peers | None, narrow: Peers | None) -> bool:
    """Whether every peer of ``narrow`` is one of ``wide``; None has no condition."""
    if wide is None or Entity.ALL in wide.entities:
        return True
    if narrow is None:
        return False
    return (
        set(narrow.entities) <= set(wide.entities)
        and (
            Entity.CLUSTER in wide.entities
            or all(any(selector(one, each) for one in wide.selectors) for each in narrow.selectors)
        )
        and (
            Entity.WORLD in wide.entities
            or all(any(_cidr(one, each) for one in wide.cidrs) for each in narrow.cidrs)
        )
    )


def ports(wide: tuple[PortRange, ...], narrow: tuple[PortRange, ...]) -> bool:
    """Whether every port of ``narrow`` that is enforced at all is in one range of ``wide``."""
    return all(
        any(one.enforced and one.first <= each.first and each.last <= one.last for one in wide)
        for each in narrow
        if each.enforced
    )


def traffic(wide: TrafficRule, narrow: TrafficRule, within: tuple[PortRange, ...]) -> bool:
    """Whether ``wide`` lets in, without looking at HTTP, what ``narrow`` does on ``within``."""
    if wide.is_empty:
        return False
    # Ports first, which are sooner compared.
    if wide.ports is not None and not any(
        each.http is None and ports(each.ports, within) for each in wide.ports
    ):
        return False
    return peers(wide.peers, narrow.peers)


def http(wide: HttpRule, narrow: HttpRule) -> bool:
    """Whether every request that ``narrow`` matches is one that ``wide`` matches."""
    hard = {header for header in wide.headers if header.mismatch is None}
    return (
        _pattern(wide.method, narrow.method)
        and _pattern(wide.path, narrow.path)
        and _pattern(wide.host, narrow.host)
        and hard <= {header for header in narrow.headers if header.mismatch is None}
    )


def _pattern(wide: str | None, narrow: str | None) -> bool:
    if wide is None or wide == narrow:
        return True
    values = None if narrow is None else patterns.literals(narrow)
    return values is not None and all(map(patterns.matcher(wide), values))


def _cidr(wide: Cidr, narrow: Cidr) -> bool:
    if wide.network.version != narrow.network.version or not (
        narrow.network.network_address in wide.network
        and narrow.network.prefixlen >= wide.network.prefixlen
    ):
        return False
    return not wide.exceptions or set(wide.exceptions) <= set(narrow.exceptions)
