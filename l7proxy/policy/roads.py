"""Which road a connection takes, and why: the cheapest one that still enforces its policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from l7proxy.policy.audit import said
from l7proxy.policy.model import RuleAction
from l7proxy.policy.verdict import Admission, Road

Unfit = Callable[[Admission], str | None]
"""Says why the kernel's tables cannot hold the rules of an admission; None where they can."""

NO_ROOM = "the kernel's tables have no room left for all of these rules"
"""Why rules that would fit take the proxy road all the same."""


def all_fit(admission: Admission) -> str | None:
    """Tables without bounds."""
    return None


@dataclass(frozen=True, slots=True)
class RoadChoice:
    """A road, and in one sentence why this one."""

    road: Road
    reason: str


def choose(
    admission: Admission,
    *,
    server_is_local: bool,
    short_circuit: bool = True,
    forced_proxy: bool = False,
    kernel_road: bool = False,
    unfit: Unfit = all_fit,
) -> RoadChoice:
    """The road of an admitted connection, or REFUSED.

    ``server_is_local``: the server is a workload of this node. ``short_circuit``: the programs
    may have to do with the server's sockets. ``forced_proxy``: the configuration wants the proxy
    for whatever has HTTP rules. ``kernel_road``: this datapath has the kernel road; without it,
    what the kernel could decide goes to the proxy too. ``unfit`` is asked last, as compiling is
    dear.
    """
    if not admission.allowed:
        return RoadChoice(Road.REFUSED, admission.reason.meaning)
    audit = admission.audit
    if audit is not None and audit.recorded:
        why = f"{said(audit.policies)}: what would be refused is recorded, and served"
        if not admission.layers:
            why += "; what is not HTTP/1 is refused"
        return RoadChoice(Road.PROXY, why)
    if not admission.layers:
        why = admission.reason.meaning
        if audit is not None:
            why += (
                f"; {said(audit.policies)}: what would be refused is let through unrecorded, as no "
                "HTTP rule names the port"
            )
        return RoadChoice(Road.SPLICE, why)
    need = needs_user_space(
        admission,
        server_is_local=server_is_local,
        short_circuit=short_circuit,
        forced_proxy=forced_proxy,
    )
    if need is None and not kernel_road:
        need = "the kernel could decide these rules, but this datapath has no kernel road"
    if need is None:
        need = unfit(admission)
    if need is not None:
        return RoadChoice(Road.PROXY, need)
    return RoadChoice(Road.KERNEL, "the kernel decides every HTTP rule that applies")


def needs_user_space(
    admission: Admission,
    *,
    server_is_local: bool,
    short_circuit: bool = True,
    forced_proxy: bool = False,
) -> str | None:
    """Why the kernel cannot decide this connection's requests in full; None where it can, as far
    as its tables hold the rules."""
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
    if not short_circuit:
        return "the server has l7proxy.io/short-circuit off: its sockets are left alone"
    return None
