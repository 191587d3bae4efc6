"""Which flows ``observe`` shows: filters with the names and the meaning of Hubble's.

A filter given twice means either; different ones must hold together. One for either end of a
connection (``--pod``) means one and the same end in all such filters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from l7proxy.observe import conditions
from l7proxy.observe.seen import Json

Condition = Callable[[Json], bool]

_SIDES = ("source", "destination")


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of the command line. ``make(value)`` gives its condition, or for an end of a
    connection ``make(value, side)``; it raises ValueError for a value that it does not take."""

    name: str
    metavar: str
    help: str
    make: Callable[..., Condition]
    sides: tuple[str, ...] | None = None
    short: str = ""


def _ends(
    name: str, metavar: str, help_: str, make: Callable[[str, str], Condition], short: str = ""
) -> list[Filter]:
    """``--from-x``, ``--to-x``, and ``--x`` for either."""
    return [
        Filter(f"from-{name}", metavar, f"From {help_}.", make, ("source",)),
        Filter(f"to-{name}", metavar, f"To {help_}.", make, ("destination",)),
        Filter(name, metavar, f"From or to {help_}.", make, _SIDES, short),
    ]


FILTERS: dict[str, Filter] = {
    each.name: each
    for each in (
        *_ends("pod", "[NS/]NAME", "pods whose name begins so", conditions.pod),
        *_ends("namespace", "NS", "pods of a namespace", conditions.namespace, "n"),
        *_ends("label", "SELECTOR", "endpoints with these labels", conditions.label, "l"),
        *_ends("ip", "ADDRESS", "an address or network (10.0.0.0/8)", conditions.ip),
        *_ends("port", "N", "a port", conditions.port),
        Filter("verdict", "VERDICT", "FORWARDED, DROPPED, ERROR, AUDIT, ...", conditions.verdict),
        Filter("http-method", "METHOD", "get, POST, ...", conditions.http_method),
        Filter("http-path", "REGEX", "Found in the path.", conditions.http_path),
        Filter("http-url", "REGEX", "Found in the URL.", conditions.http_url),
        Filter("http-status", "STATUS", "404, or how it begins: 5+.", conditions.http_status),
        Filter("slower", "TIME", "Took longer to be answered: 250ms.", conditions.slower),
        Filter("http-header", "NAME:VALUE", "Any value if it is empty.", conditions.http_header),
        Filter("protocol", "NAME", "tcp, udp, http, dns, ...", conditions.protocol),
        Filter("type", "TYPE", "l7, drop, trace, policy-verdict, ...", conditions.type_, short="t"),
        Filter("traffic-direction", "WAY", "ingress or egress.", conditions.direction),
        Filter("drop-reason-desc", "NAME", "POLICY_DENIED, ...", conditions.drop_reason),
        Filter("road", "ROAD", "kernel or proxy.", conditions.road),
        Filter("reason", "NAME", "Why, as in docs/REASONS.md.", conditions.reason),
        Filter("policy", "[NS/]NAME", "The policy that decided.", conditions.policy),
        Filter("rule", "NAME", "The rule that decided.", conditions.rule),
    )
}

# What Hubble does not let be combined, since the meaning would be in doubt: one of each group.
_EXCLUSIVE = (
    {"ip", "from-ip", "pod", "from-pod"},
    {"ip", "from-ip", "namespace", "from-namespace"},
    {"ip", "to-ip", "pod", "to-pod"},
    {"ip", "to-ip", "namespace", "to-namespace"},
    {"namespace", "from-pod"},
    {"namespace", "to-pod"},
    {"label", "from-label"},
    {"label", "to-label"},
    {"port", "from-port"},
    {"port", "to-port"},
)


class Filters:
    """Filters as they are given, one after the other. ``matches`` with none at all is true."""

    def __init__(self) -> None:
        self._wanted = _Group()
        self._unwanted = _Group()

    def add(self, name: str, value: str, *, negated: bool = False) -> None:
        """Take one more of ``FILTERS``. Raises ValueError, saying what is wrong with it."""
        (self._unwanted if negated else self._wanted).add(FILTERS[name], value)

    def matches(self, flow: Json) -> bool:
        """Whether a flow is to be shown."""
        if self._wanted and not self._wanted.matches(flow):
            return False
        return not (self._unwanted and self._unwanted.matches(flow))


@dataclass(slots=True)
class _Group:
    """Filters that must hold together, for the one end of a connection or for the other."""

    values: dict[str, list[str]] = field(default_factory=dict)
    _views: tuple[Condition, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.values)

    def matches(self, flow: Json) -> bool:
        return any(view(flow) for view in self._views)

    def add(self, new: Filter, value: str) -> None:
        values = {**self.values, new.name: [*self.values.get(new.name, ()), value]}
        for group in _EXCLUSIVE:
            if new.name in group and (others := [each for each in values if each in group][:-1]):
                raise ValueError(f"--{new.name} cannot be combined with --{others[0]}")
        self._views = tuple(_view(values, side) for side in _SIDES)
        self.values = values


def _view(values: dict[str, list[str]], end: str) -> Condition:
    """All filters, those for either end being for ``end``."""
    together: list[Sequence[Condition]] = []
    namespaces = _namespaces(values)
    for name, given in values.items():
        each = FILTERS[name]
        if each.sides is None:
            together.append([each.make(value) for value in given])
            continue
        side = end if each.sides == _SIDES else each.sides[0]
        if name.endswith("pod"):
            given = _qualified(given, namespaces[side] or namespaces["either"])
        together.append([each.make(value, side) for value in given])
    return lambda flow: all(_any(alternatives, flow) for alternatives in together)


def _namespaces(values: dict[str, list[str]]) -> dict[str, list[str]]:
    return {
        "source": values.get("from-namespace", []),
        "destination": values.get("to-namespace", []),
        "either": values.get("namespace", []),
    }


def _qualified(pods: Iterable[str], namespaces: Sequence[str]) -> list[str]:
    """Pods of the namespaces that are asked for; without any, of ``default``."""
    found: list[str] = []
    for pod in pods:
        if "/" in pod:
            if namespaces and pod.partition("/")[0] not in namespaces:
                raise ValueError(f"{pod} is not in the namespace {', '.join(namespaces)}")
            found.append(pod)
        else:
            found += [f"{namespace}/{pod}" for namespace in namespaces or ("default",)]
    return found


def _any(alternatives: Sequence[Condition], flow: Json) -> bool:
    return any(condition(flow) for condition in alternatives)
