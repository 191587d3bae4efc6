"""Label selectors: which workloads a selector names."""

from __future__ import annotations

from collections.abc import Iterable

from l7proxy.policy.model import NAMESPACE_LABEL, Operator, Requirement, Selector
from l7proxy.workloads.model import Workload

_PREFIXES = ("k8s:", "any:")
_DERIVED = "io.cilium."


def label_key(written: str) -> str:
    """The label's own name, without its ``k8s:`` or ``any:`` prefix.

    Raises ValueError for an empty key, for a label source other than these two, for the namespace
    label misspelt with a dot, and for labels that Cilium derives from other objects. Workloads
    never carry the last two, so that a rule naming one would silently select nobody.
    """
    key = written
    for prefix in _PREFIXES:
        if written.startswith(prefix):
            key = written[len(prefix) :]
            break
    else:
        source, colon, _ = written.partition(":")
        if colon or source == "reserved" or source.startswith("reserved."):
            raise ValueError(
                f"label {written!r}: the label source {source.split('.')[0]!r} is not supported; "
                "use k8s:, any: or none"
            )
    if not key:
        raise ValueError(f"label {written!r} has no name")
    if key == f"k8s.{NAMESPACE_LABEL}":
        raise ValueError(f"label {written!r} is none: write k8s:{NAMESPACE_LABEL}")
    if key.startswith(_DERIVED):
        raise ValueError(f"label {written!r}: labels that Cilium derives are not supported")
    return key


def scoped(requirements: Iterable[Requirement], namespace: str | None) -> Selector:
    """A selector that sees only ``namespace``, unless its requirements name one themselves.

    ``namespace`` None sees all of them.
    """
    own = tuple(requirements)
    if namespace is None or any(requirement.key == NAMESPACE_LABEL for requirement in own):
        return Selector(own)
    return Selector((*own, Requirement(NAMESPACE_LABEL, Operator.IN, (namespace,))))


def matches(selector: Selector, workload: Workload) -> bool:
    """Whether ``workload`` meets every requirement of ``selector``."""
    return all(_meets(requirement, workload) for requirement in selector.requirements)


def _meets(requirement: Requirement, workload: Workload) -> bool:
    # The namespace a workload lives in cannot be overridden by a label of the same name.
    if requirement.key == NAMESPACE_LABEL:
        value: str | None = workload.namespace
    else:
        value = workload.labels.get(requirement.key)
    match requirement.operator:
        case Operator.IN:
            return value is not None and value in requirement.values
        case Operator.NOT_IN:
            return value is None or value not in requirement.values
        case Operator.EXISTS:
            return value is not None
        case Operator.DOES_NOT_EXIST:
            return value is None
