"""Which road a connection takes, and why: the cheapest one that still enforces its policy."""

from __future__ import annotations

from dataclasses import dataclass

from l7proxy.policy.model import RuleAction
from l7proxy.policy.verdict import Admission, Road


@dataclass(frozen=True, slots=True)
class RoadChoice:
    """A road, and in one sentence why this one."""

    road: Road
    reason: str


def choose(
    admission: Admission,
    *,
    server_is_local: bool,
    forced_proxy: bool = False,
    kernel_road: bool = False,
) -> RoadChoice:
    """The road of an admitted connection, or REFUSED.

    ``server_is_local``: the server is a workload of this node. ``forced_proxy``: the
    configuration wants the proxy for whatever has HTTP rules. ``kernel_road``: this datapath has
    the kernel road; without it, what the kernel could decide goes to the proxy too.
    """
    if not admission.allowed:
        return RoadChoice(Road.REFUSED, admission.reason.meaning)
    if not admission.layers:
        return RoadChoice(Road.SPLICE, admission.reason.meaning)
    need = needs_user_space(admission, server_is_local=server_is_local, forced_proxy=forced_proxy)
    if need is not None:
        return RoadChoice(Road.PROXY, need)
    if kernel_road:
        return RoadChoice(Road.KERNEL, "the kernel decides every HTTP rule that applies")
    return RoadChoice(
        Road.PROXY, "the kernel could decide these rules, but this datapath has no kernel road"
    )


def needs_user_space(
    admission: Admission, *, server_is_local: bool, forced_proxy: bool = False
) -> str | None:
    """Why the kernel cannot decide this connection's requests in full; None where it can."""
    if forced_proxy:
        return "the configuration asks for the proxy"
    for layer in admission.layers:
        for rule in layer.rules:
            name = f"rule {rule.label} of policy {rule.policy}"
            if rule.action is RuleAction.FORWARD:
                return f"{name} forwards requests"
            if rule.has_effects:
                return f"{name} logs or changes headers"
        if layer.force_proxy:
            return f"the {layer.direction} rules ask for datapath: proxy"
    if not server_is_local:
        return "the server is not a workload of this node"
    return None
