"""One Pod object to one workload: which fields are read, and what they may hold."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Any

from l7proxy.workloads.model import Address, Workload
from l7proxy.yaml_lines import Document, Path

CGROUP = "l7proxy.io/cgroup"
NETNS = "l7proxy.io/netns"
SHORT_CIRCUIT = "l7proxy.io/short-circuit"

_PREFIX = "l7proxy.io/"
_ANNOTATIONS = (CGROUP, NETNS, SHORT_CIRCUIT)
# A pod that has ended keeps its address in its status while another may have been given it.
_ENDED = ("Succeeded", "Failed")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._@-]{0,251}[A-Za-z0-9])?")
_SWITCH = {"on": True, "off": False, True: True, False: False}


class Reader:
    """Reads fields of the object at ``where`` in a document and notes what is wrong with them."""

    def __init__(self, document: Document, where: Path) -> None:
        self._document = document
        self._where = where
        self.faults: list[tuple[int, str]] = []

    def line(self, *path: str | int) -> int:
        """The line on which a field stands."""
        return self._document.line_of((*self._where, *path))

    def fault(self, path: Path, message: str) -> None:
        """Notes that the field at ``path`` is wrong."""
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
        text = f"{name.removeprefix('.')}: {message}" if path else message
        self.faults.append((self.line(*path), text))

    def value(self, *path: str | int) -> Any:
        """What stands at ``path``; None if nothing does, or what should hold it is not a map."""
        value: Any = self._document.value
        for part in (*self._where, *path):
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int):
                value = value[part]
            else:
                return None
        return value

    def text(self, *path: str | int, default: str | None = None) -> str | None:
        """The text at ``path``. Without ``default`` its absence is a fault, and then it is None."""
        value = self.value(*path)
        if value is None and default is not None:
            return default
        if value is None:
            self.fault(path, "is missing")
        elif not isinstance(value, str):
            self.fault(path, "must be a text: quote it")
        elif value:
            return value
        elif default is not None:
            return default
        else:
            self.fault(path, "is empty")
        return None

    def texts(self, *path: str | int) -> dict[str, str]:
        """The map of texts at ``path``; empty if there is none."""
        value = self.value(*path)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fault(path, "must be a map")
            return {}
        for key, item in value.items():
            if not isinstance(item, str):
                self.fault((*path, key), "must be a text: quote it")
        return {key: item for key, item in value.items() if isinstance(item, str)}


def workload(pod: Reader) -> Workload | None:
    """The workload that ``pod`` is.

    None where there are faults (``pod.faults``), for a pod that has ended, and for a pod of the
    host's network that no cgroup identifies: it cannot be told from the node itself.
    """
    for section in ("metadata", "spec", "status"):
        value = pod.value(section)
        if value is not None and not isinstance(value, dict):
            pod.fault((section,), "must be a map")
    if pod.faults or pod.value("status", "phase") in _ENDED:
        return None
    name = _name(pod, None, "metadata", "name")
    namespace = _name(pod, "default", "metadata", "namespace")
    labels = pod.texts("metadata", "labels")
    netns, cgroup, short_circuit = _annotations(pod)
    on_host = pod.value("spec", "hostNetwork") is True
    # The addresses of a pod on the host's network are the node's, not its own.
    addresses = () if on_host else _addresses(pod)
    node = pod.value("spec", "nodeName")
    if pod.faults or name is None or namespace is None or (on_host and cgroup is None):
        return None
    return Workload(
        namespace=namespace,
        name=name,
        labels=labels,
        addresses=addresses,
        netns=netns,
        cgroup=cgroup,
        node=node if isinstance(node, str) else None,
        short_circuit=short_circuit,
    )


def _name(pod: Reader, default: str | None, *path: str) -> str | None:
    name = pod.text(*path, default=default)
    if name is not None and not _NAME.fullmatch(name):
        pod.fault(path, f"{name!r} is not a name: letters, digits, - _ . and @")
        return None
    return name


def _annotations(pod: Reader) -> tuple[str | None, str | None, bool]:
    """The namespace, the cgroup and whether to short-circuit."""
    base = ("metadata", "annotations")
    given = pod.value(*base)
    if given is None:
        return None, None, True
    if not isinstance(given, dict):
        pod.fault(base, "must be a map")
        return None, None, True
    for name in given:
        if name.startswith(_PREFIX) and name not in _ANNOTATIONS:
            pod.fault((*base, name), f"unknown; there are {', '.join(_ANNOTATIONS)}")
    netns = pod.text(*base, NETNS) if NETNS in given else None
    if netns is not None and ("/" in netns or netns in {".", ".."}):
        pod.fault((*base, NETNS), f"{netns!r} is not a name under /run/netns")
    cgroup = pod.text(*base, CGROUP) if CGROUP in given else None
    if cgroup is not None:
        parts = cgroup.split("/")
        if parts[0] or ".." in parts or not any(parts):
            pod.fault((*base, CGROUP), "must be a path below the cgroup2 mount, as /a.slice/b")
        cgroup = "/" + "/".join(part for part in parts if part not in {"", "."})
    # YAML reads a bare on or off as true or false.
    switch = given.get(SHORT_CIRCUIT, "on")
    if not isinstance(switch, str | bool) or switch not in _SWITCH:
        pod.fault((*base, SHORT_CIRCUIT), 'must be "on" or "off"')
        return netns, cgroup, True
    return netns, cgroup, _SWITCH[switch]


def _addresses(pod: Reader) -> tuple[Address, ...]:
    """Every address of ``status.podIP`` and ``status.podIPs``, each once, in order."""
    places: list[Path] = []
    if pod.value("status", "podIP"):
        places.append(("status", "podIP"))
    several = pod.value("status", "podIPs")
    if several is not None and not isinstance(several, list):
        pod.fault(("status", "podIPs"), "must be a list")
    elif several is not None:
        places += [("status", "podIPs", at, "ip") for at in range(len(several))]
    found: dict[Address, None] = {}
    for place in places:
        text = pod.text(*place)
        if text is None:
            continue
        try:
            found[own_address(text)] = None
        except ValueError as error:
            pod.fault(place, str(error))
    return tuple(found)


def own_address(text: str) -> Address:
    """An address that one host can have. Raises ValueError.

    An IPv4 address in IPv6 clothes (``::ffff:10.0.0.1``) is the IPv4 address.
    """
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError(f"{text!r} names an interface of one machine")
    address = plain(address)
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        raise ValueError(f"{text!r} is not the address of one host")
    return address


def plain(address: Address) -> Address:
    """``address``, an IPv4-mapped IPv6 address as the IPv4 address that it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
