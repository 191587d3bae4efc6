"""What each filter of ``observe`` looks at: from the value that is asked for to a condition.

Each function raises ValueError, saying what it takes, for a value that means nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from l7proxy.observe import selectors, times
from l7proxy.observe.seen import (
    Json,
    attributed,
    get,
    known,
    number,
    objects,
    ports,
    text,
    texts,
)
from l7proxy.policy import patterns
from l7proxy.policy.verdict import Road
from l7proxy.reasons import Reason

Condition = Callable[[Json], bool]

VERDICTS = ("FORWARDED", "DROPPED", "ERROR", "AUDIT", "REDIRECTED", "TRACED", "TRANSLATED")
L4_PROTOCOLS = {
    "tcp": ("TCP",), "udp": ("UDP",), "sctp": ("SCTP",), "icmpv4": ("ICMPv4",),
    "icmpv6": ("ICMPv6",), "icmp": ("ICMPv4", "ICMPv6"),
}  # fmt: skip
L7_PROTOCOLS = ("http", "dns", "kafka")
EVENT_TYPES = {
    "drop": 1, "debug": 2, "capture": 3, "trace": 4, "policy-verdict": 5, "trace-sock": 7,
    "l7": 129, "agent": 130,
}  # fmt: skip
_STATUS = re.compile(r"([1-5][0-9]{2})|([1-5][0-9]?)\+", re.ASCII)


def pod(name: str, side: str) -> Condition:
    """``namespace/prefix``; ``namespace/`` means every pod of it."""
    namespace, _, prefix = name.partition("/")
    if not namespace:
        raise ValueError(f"{name!r} is not a pod: write [namespace/]name")

    def holds(flow: Json) -> bool:
        end = get(flow, side)
        return text(end, "namespace") == namespace and text(end, "pod_name").startswith(prefix)

    return holds


def namespace(name: str, side: str) -> Condition:
    if not name or "/" in name:
        raise ValueError(f"{name!r} is not a namespace")
    return lambda flow: text(flow, side, "namespace") == name


def label(selector: str, side: str) -> Condition:
    holds = selectors.parse(selector)
    return lambda flow: holds(selectors.labels(texts(flow, side, "labels")))


def ip(address: str, side: str) -> Condition:
    try:
        network = ip_network(address)
    except ValueError:
        raise ValueError(f"{address!r} is not an address (10.0.0.1) or network (10.0.0.0/8)") from (
            None
        )

    def holds(flow: Json) -> bool:
        try:
            return ip_address(text(flow, "IP", side)) in network
        except ValueError:
            return False

    return holds


def port(value: str, side: str) -> Condition:
    if not (value.isascii() and value.isdigit() and 0 < int(value[:6]) < 65536):
        raise ValueError(f"{value!r} is not a port from 1 to 65535")
    wanted, at = int(value), ("source", "destination").index(side)
    return lambda flow: ports(flow)[at] == wanted


def verdict(name: str) -> Condition:
    wanted = _one_of(name.upper(), VERDICTS, "verdict")
    return lambda flow: text(flow, "verdict") == wanted


def http_method(name: str) -> Condition:
    wanted = name.upper()
    return lambda flow: text(flow, "l7", "http", "method").upper() == wanted


def http_path(pattern: str) -> Condition:
    found = _regex(pattern)
    return lambda flow: (path := path_of(flow)) is not None and found(path)


def http_url(pattern: str) -> Condition:
    found = _regex(pattern)
    return lambda flow: bool(url := text(flow, "l7", "http", "url")) and found(url)


def slower(value: str) -> Condition:
    """By the time from the whole head to the first byte of the answer."""
    bound = times.duration(value)
    return lambda flow: number(flow, "l7", "latency_ns") > bound


def http_status(value: str) -> Condition:
    found = _STATUS.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is not a status (404) or the beginning of one (5+)")
    whole, prefix = found.groups()

    def holds(flow: Json) -> bool:
        code = number(flow, "l7", "http", "code")
        return bool(code) and (str(code) == whole if whole else f"{code:03}".startswith(prefix))

    return holds


def http_header(value: str) -> Condition:
    name, colon, wanted = (part.strip() for part in value.partition(":"))
    if not colon:
        raise ValueError(f"{value!r} is not a header: write name:value")

    def holds(flow: Json) -> bool:
        return any(
            (not name or text(header, "key").lower() == name.lower())
            and (not wanted or text(header, "value") == wanted)
            for header in objects(flow, "l7", "http", "headers")
        )

    return holds


def protocol(name: str) -> Condition:
    wanted = _one_of(name.lower(), (*L4_PROTOCOLS, *L7_PROTOCOLS), "protocol")
    if wanted in L7_PROTOCOLS:
        return lambda flow: get(flow, "l7", wanted) is not None
    keys = L4_PROTOCOLS[wanted]
    return lambda flow: any(get(flow, "l4", key) is not None for key in keys)


def type_(name: str) -> Condition:
    """``l7``, ``trace:4`` with a subtype, or numbers."""
    kind, colon, sub = name.partition(":")
    numeric = [part for part in (kind, sub) if part and part.isascii() and part.isdigit()]
    if (kind not in EVENT_TYPES and kind not in numeric) or (colon and sub not in numeric):
        raise ValueError(
            f"{name!r} is not a type of event: one of {', '.join(EVENT_TYPES)}, or a number;"
            " with a subtype trace:4"
        )
    wanted = EVENT_TYPES[kind] if kind in EVENT_TYPES else int(kind)

    def holds(flow: Json) -> bool:
        event = get(flow, "event_type")
        return (
            isinstance(event, dict)
            and number(event, "type") == wanted
            and (not colon or number(event, "sub_type") == int(sub))
        )

    return holds


def direction(name: str) -> Condition:
    wanted = _one_of(name.upper(), ("INGRESS", "EGRESS"), "direction")
    return lambda flow: text(flow, "traffic_direction") == wanted


def drop_reason(name: str) -> Condition:
    wanted = name.upper()
    return lambda flow: text(flow, "drop_reason_desc") == wanted


def road(name: str) -> Condition:
    wanted = _one_of(name.lower(), tuple(each.value for each in Road), "road")
    return lambda flow: known(flow, "road") == wanted


def reason(name: str) -> Condition:
    wanted = _one_of(name.lower(), tuple(each.value for each in Reason), "reason")
    return lambda flow: known(flow, "reason") == wanted


def policy(name: str) -> Condition:
    """``namespace/name``, or a name in whatever namespace."""

    def holds(flow: Json) -> bool:
        named = {known(flow, "policy"), *(each for each, _ in attributed(flow))} - {""}
        return any(name in (each, each.rpartition("/")[2]) for each in named)

    return holds


def rule(name: str) -> Condition:
    return lambda flow: name in {known(flow, "rule"), *(each for _, each in attributed(flow))}


def path_of(flow: Json) -> str | None:
    """The path of the URL without its query, percent-decoded as Hubble does; None without one."""
    url = text(flow, "l7", "http", "url")
    try:
        return unquote(urlsplit(url).path) if url else None
    except ValueError:
        return None


def _regex(pattern: str) -> Callable[[str], bool]:
    find = patterns.finder(pattern)
    return lambda value: find(value.encode("utf-8", "replace"))


def _one_of(value: str, allowed: tuple[str, ...], what: str) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is not a {what}: one of {', '.join(allowed)}")
    return value
