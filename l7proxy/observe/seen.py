"""Flow records as they are read back: lines of JSON that may have been written by anybody."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, NoReturn

from l7proxy.observe import times

Json = dict[str, Any]

LINE_BYTES = 1 << 20
"""What a line may have at most."""


class LineError(ValueError):
    """The line is no record; the text says why."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One line: a flow, or that records were lost, or something else of Hubble's (neither).

    ``time`` is in nanoseconds since the epoch, None where the line has none that can be read.
    """

    document: Json
    flow: Json | None
    lost: Json | None
    time: int | None = field(compare=False)


def read(line: bytes) -> Seen:
    """The record in a line. Raises LineError."""
    if len(line) > LINE_BYTES:
        raise LineError(f"longer than {LINE_BYTES} bytes")
    try:
        document = json.loads(line, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise LineError("nested too deeply") from None
    except ValueError as error:
        raise LineError(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise LineError("not a JSON object")
    flow, lost = document.get("flow"), document.get("lost_events")
    for name, value in (("flow", flow), ("lost_events", lost)):
        if value is not None and not isinstance(value, dict):
            raise LineError(f"{name} is not an object")
    return Seen(document, flow, lost, _moment(document, flow))


def get(value: Any, *keys: str) -> Any:
    """What is at the end of ``keys``; None where it is not there, or no object on the way."""
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text(value: Any, *keys: str) -> str:
    """The same for what should be text; empty for anything else."""
    found = get(value, *keys)
    return found if isinstance(found, str) else ""


def number(value: Any, *keys: str) -> int:
    """The same for a number, which proto3's JSON may write as text; 0 for anything else."""
    found = get(value, *keys)
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) <= 20:
        return int(found)
    return found if type(found) is int else 0


def texts(value: Any, *keys: str) -> list[str]:
    """The same for a list of texts, without what is none."""
    found = get(value, *keys)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def objects(value: Any, *keys: str) -> list[Json]:
    """The same for a list of objects."""
    found = get(value, *keys)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def ports(flow: Json) -> tuple[int, int]:
    """Source and destination port; 0 for none."""
    for protocol in ("TCP", "UDP", "SCTP"):
        if isinstance(layer := get(flow, "l4", protocol), dict):
            return number(layer, "source_port"), number(layer, "destination_port")
    return 0, 0


def known(flow: Json, name: str) -> str:
    """What l7proxy adds to Hubble's keys: road, reason, policy, rule; empty if it is not there."""
    return text(flow, "extensions", "value", name)


def attributed(flow: Json) -> list[tuple[str, str]]:
    """The policies, each with its rule or nothing, that a flow says it was decided by."""
    found = []
    for side in ("egress", "ingress"):
        for outcome in ("allowed", "denied"):
            for policy in objects(flow, f"{side}_{outcome}_by"):
                namespace, name = text(policy, "namespace"), text(policy, "name")
                rules = [
                    label.removeprefix(RULE_LABEL)
                    for label in texts(policy, "labels")
                    if label.startswith(RULE_LABEL)
                ]
                full = f"{namespace}/{name}" if namespace else name
                found.append((full, rules[0] if rules else ""))
    return found


RULE_LABEL = "l7proxy:rule="


def _moment(document: Json, flow: Json | None) -> int | None:
    for written in (text(document, "time"), text(flow, "time")):
        try:
            return times.parse(written)
        except (ValueError, OverflowError):
            continue
    return None


def _finite(written: str) -> float:
    value = float(written)
    return value if math.isfinite(value) else _no_number(written)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number that JSON has")
