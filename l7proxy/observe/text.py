"""Flows as text for people: the lines, blocks and columns that Hubble's command prints.

Whatever a record holds is shown harmlessly: what is no printable character is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from l7proxy.observe import times
from l7proxy.observe.flows import STRUCT
from l7proxy.observe.seen import Json, Seen, attributed, get, known, number, ports, text, texts
from l7proxy.printable import escaped

HEADINGS = ("TIMESTAMP", "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY")
SEPARATOR = "------------"

_RED, _GREEN, _YELLOW, _MAGENTA, _CYAN = 31, 32, 33, 35, 36
_VERDICT_COLOURS = {
    "FORWARDED": _GREEN, "REDIRECTED": _GREEN, "DROPPED": _RED, "ERROR": _RED, "AUDIT": _YELLOW,
    "TRACED": _YELLOW, "TRANSLATED": _YELLOW,
}  # fmt: skip
_POLICY_VERDICT = 5
_VERDICT_WORDS = {
    "FORWARDED": "ALLOWED", "REDIRECTED": "ALLOWED", "DROPPED": "DENIED", "ERROR": "DENIED",
    "AUDIT": "AUDITED",
}  # fmt: skip
_RESERVED = (
    "unknown", "host", "world", "unmanaged", "health", "init", "remote-node", "kube-apiserver",
    "ingress", "world-ipv4", "world-ipv6", "encrypted-overlay",
)  # fmt: skip
_TRACE, _DROP = 4, 1
_TRACE_POINTS = (
    "to-endpoint", "to-proxy", "to-host", "to-stack", "to-overlay", "from-endpoint", "from-proxy",
    "from-host", "from-stack", "from-overlay", "from-network", "to-network", "from-crypto",
    "to-crypto",
)  # fmt: skip
_DROPS = {133: "Policy denied", 181: "Policy denied by denylist"}
_MATCHES = ("none", "L3-Only", "L3-L4", "L4-Only", "all", "L3-Proto", "Proto-Only")


@dataclass(frozen=True, slots=True)
class Style:
    """How lines are written; ``time`` is one of ``times.FORMATS``."""

    colour: bool = False
    time: str = "StampMilli"
    node: bool = False
    policies: bool = False


def compact(seen: Seen, style: Style) -> str:
    """One line without its end."""
    flow = seen.flow
    if flow is None:
        return f"EVENTS LOST: {_lost_source(seen)} CPU({_lost_cpu(seen)}) {_lost_number(seen)}"
    source, destination = (f"{host}{_identity(end, style)}" for host, end in _hosts(flow, style))
    arrow = "->"
    if (reply := get(flow, "is_reply")) is None:
        # Not false: Hubble does not know.
        arrow = "<>"
    elif reply is True:
        source, destination, arrow = destination, source, "<-"
    node = f" [{escaped(text(flow, 'node_name'))}]" if style.node else ""
    return (
        f"{times.shown(seen.time, style.time)}{node}: {source} {arrow} {destination}"
        f" {_type(flow)} {_verdict(flow, style)} ({_summary(flow)})"
    )


def columns(seen: Seen, style: Style) -> list[str]:
    """The cells below ``HEADINGS``, and the node's name second if that is asked for."""
    cells = [cell for _, cell in fields(seen, replace(style, colour=False))]
    if seen.flow is None:
        cells.insert(2 + style.node, "")
    return cells


def headings(style: Style) -> list[str]:
    """The first row of a table."""
    return [HEADINGS[0], *(["NODE"] if style.node else []), *HEADINGS[1:]]


def block(seen: Seen, style: Style) -> str:
    """``KEY: value``, one a line."""
    return "\n".join(f"{name:>11}: {value}" for name, value in fields(seen, style))


def fields(seen: Seen, style: Style) -> list[tuple[str, str]]:
    """Name and value of what is known."""
    flow = seen.flow
    if flow is None:
        lost = f"CPU({_lost_cpu(seen)}) - {_lost_number(seen)}"
        found = [("SOURCE", _lost_source(seen)), ("TYPE", "EVENTS LOST"), ("VERDICT", "")]
        found.append(("SUMMARY", lost))
        return [("TIMESTAMP", ""), *([("NODE", "")] if style.node else []), *found]
    (source, _), (destination, _) = _hosts(flow, style)
    node = [("NODE", escaped(text(flow, "node_name")))] if style.node else []
    return [
        ("TIMESTAMP", times.shown(seen.time, style.time)),
        *node,
        ("SOURCE", source),
        ("DESTINATION", destination),
        ("TYPE", _type(flow)),
        ("VERDICT", _verdict(flow, style)),
        ("SUMMARY", _summary(flow)),
    ]


def as_json(document: Json) -> str:
    """One line of ASCII without a control character."""
    return json.dumps(document, separators=(",", ":"))


def with_explanation(document: Json, told: Mapping[str, str]) -> Json:
    """The document, with what there is to say in ``flow.extensions.value.explanation``, where
    other readers of Hubble's flows pass over it."""
    extensions = get(document, "flow", "extensions")
    if not told or (extensions is not None and not isinstance(get(extensions, "value"), dict)):
        return document
    if extensions is None:
        extensions = {"@type": STRUCT, "value": {}}
    value = {**extensions["value"], "explanation": dict(told)}
    flow = {**document["flow"], "extensions": {**extensions, "value": value}}
    return {**document, "flow": flow}


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns, three blanks apart, as Hubble's."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _hosts(flow: Json, style: Style) -> list[tuple[str, Json]]:
    """Source and destination as they are named, each with its endpoint."""
    found = []
    for side, port in zip(("source", "destination"), ports(flow), strict=True):
        end = get(flow, side)
        service = get(flow, f"{side}_service")
        names = texts(flow, f"{side}_names")
        host = text(flow, "IP", side)
        if name := text(end, "pod_name"):
            host = "/".join(part for part in (text(end, "namespace"), name) if part)
        elif name := text(service, "name"):
            host = "/".join(part for part in (text(service, "namespace"), name) if part)
        elif names:
            host = ",".join(names)
        elif not host:
            host = text(flow, "ethernet", side)
        host = escaped(host)
        if port:
            brackets = f"[{host}]" if ":" in host else host
            host = f"{brackets}:{_painted(str(port), _YELLOW, style)}"
        found.append((_painted(host, _CYAN, style), end if isinstance(end, dict) else {}))
    return found


def _identity(end: Json, style: Style) -> str:
    """`` (ID:7)`` or `` (host)``; nothing where the record has none, as for workloads of ours."""
    identity = number(end, "identity")
    if not identity:
        return ""
    known_ = _RESERVED[identity] if 0 < identity < len(_RESERVED) else f"ID:{identity}"
    return f" {_painted(f'({known_})', _MAGENTA, style)}"


def _type(flow: Json) -> str:
    layer = get(flow, "l7")
    if isinstance(layer, dict):
        protocol = next((each for each in ("http", "dns", "kafka") if each in layer), "l7")
        kind = text(layer, "type").lower() or "unknown_l7_type"
        if protocol == "dns":
            kind += f" {text(layer, 'dns', 'observation_source')}"
        return escaped(f"{protocol}-{kind}")
    event, sub = number(flow, "event_type", "type"), number(flow, "event_type", "sub_type")
    if event == _TRACE:
        return _TRACE_POINTS[sub] if 0 <= sub < len(_TRACE_POINTS) else str(sub)
    if event == _DROP or (not event and get(flow, "drop_reason_desc")):
        words = text(flow, "drop_reason_desc").replace("_", " ").capitalize()
        return _DROPS.get(sub or number(flow, "drop_reason")) or escaped(words) or str(sub)
    if event == _POLICY_VERDICT:
        match = number(flow, "policy_match_type")
        how = _MATCHES[match] if 0 <= match < len(_MATCHES) else str(match)
        return escaped(f"policy-verdict:{how} {text(flow, 'traffic_direction')}")
    return "UNKNOWN"


def _verdict(flow: Json, style: Style) -> str:
    name = text(flow, "verdict") or "VERDICT_UNKNOWN"
    word = name
    if number(flow, "event_type", "type") == _POLICY_VERDICT:
        word = _VERDICT_WORDS.get(name, name)
    if style.policies:
        word += _decided_by(flow)
    return _painted(escaped(word), _VERDICT_COLOURS.get(name), style)


def _decided_by(flow: Json) -> str:
    """`` BY`` the policies and their rules, or the reason where no policy decided."""
    by = [" ".join(part for part in each if part) for each in attributed(flow)]
    if by:
        return f" BY {', '.join(by)}"
    reason = known(flow, "reason")
    return f" BY no policy: {reason}" if reason else ""


def _summary(flow: Json) -> str:
    return escaped(text(flow, "Summary"))


def _lost_source(seen: Seen) -> str:
    return escaped(text(seen.lost, "source")) or "UNKNOWN_LOST_EVENT_SOURCE"


def _lost_number(seen: Seen) -> int:
    return number(seen.lost, "num_events_lost")


def _lost_cpu(seen: Seen) -> int:
    return number(seen.lost, "cpu")


def _painted(value: str, colour: int | None, style: Style) -> str:
    return f"\x1b[{colour}m{value}\x1b[0m" if style.colour and colour and value else value
