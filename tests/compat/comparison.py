"""What a client got on a way, held against what it got directly. Pure.

A difference is either one of those named here, each with its reason, or a failure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]
"""A driver's line: ``answers`` (status, headers, length, sha256, ...) and ``error``."""

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"}
CHANGING = {"date", "age", "x-envoy-upstream-service-time"}
"""Fields that differ from one answer to the next of the same server."""


@dataclass(frozen=True, slots=True)
class Difference:
    """``name`` is None where nobody has said that it has to be so."""

    exchange: str
    text: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """One exchange of one client, directly and on a way."""

    way: str
    client: str
    exchange: str
    direct: Json
    got: Json


def compare(case: Case) -> list[Difference]:
    """Every difference of one exchange, none where it is the same."""
    names = [name for name, (_, holds) in NAMED.items() if holds(case)]
    if names:
        texts = list(_differences(case.direct, case.got, frozenset()))
        return [Difference(case.exchange, text, names[0]) for text in texts]
    hop = HOP_BY_HOP if case.way == "proxy" else frozenset()
    real = list(_differences(case.direct, case.got, hop))
    if real:
        return [Difference(case.exchange, text, None) for text in real]
    return [
        Difference(case.exchange, text, "hop-by-hop")
        for text in _differences(case.direct, case.got, frozenset())
    ]


def _differences(direct: Json, got: Json, without: frozenset[str] | set[str]) -> Iterator[str]:
    if direct["error"] != got["error"]:
        yield f"error: {direct['error'] or 'none'}, not {got['error'] or 'none'}"
    if len(direct["answers"]) != len(got["answers"]):
        yield f"answers: {len(direct['answers'])}, not {len(got['answers'])}"
    for before, after in zip(direct["answers"], got["answers"], strict=False):
        for key in sorted((before.keys() | after.keys()) - {"headers"}):
            if before.get(key) != after.get(key):
                yield f"{key}: {before.get(key)}, not {after.get(key)}"
        old, new = (_fields(one.get("headers", []), without) for one in (before, after))
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                yield f"{name}: {_short(old.get(name))}, not {_short(new.get(name))}"


def _fields(headers: list[list[str]], without: frozenset[str] | set[str]) -> dict[str, list[str]]:
    """Values by name, in their order; the order of different names says nothing."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        if name.lower() not in CHANGING | without:
            # Apache counts down the requests that it still takes on the connection.
            counted = re.sub(r"\bmax=\d+", "max", value) if name.lower() == "keep-alive" else value
            found.setdefault(name.lower(), []).append(counted)
    return found


def _short(values: list[str] | None) -> str:
    return "none" if values is None else ", ".join(values)[:60]


def _status(line: Json) -> int | str | None:
    return line["answers"][0]["status"] if line["answers"] else None


# name: what it says in the documentation, and the cases that it covers.
NAMED: dict[str, tuple[str, Callable[[Case], bool]]] = {
    "path-not-normal": (
        "The kernel does not normalise: a path with `//`, `/./` or a needless escape is answered "
        "400 (reason `path-not-normal`).",
        lambda case: (
            case.way == "kernel" and case.exchange == "dot-segments" and _status(case.got) == 400
        ),
    ),
    "http-1.0-raised": (
        "The proxy speaks HTTP/1.1 to the server also for an HTTP/1.0 client, so a server that "
        "has trailers only for 1.1 answers as for 1.1; the client gets the content without them.",
        lambda case: (
            (case.way, case.client, case.exchange) == ("proxy", "curl-1.0", "trailers")
            and _status(case.got) in (200, _status(case.direct))
        ),
    ),
    "path-normalised": (
        "The proxy sends the server the normalised path, so the echo of it differs.",
        lambda case: (
            case.way == "proxy"
            and case.exchange == "dot-segments"
            and _status(case.got) == _status(case.direct)
        ),
    ),
}
HOP_TEXT = (
    "Fields that end at the proxy (Connection, Keep-Alive, Transfer-Encoding, Upgrade); status, "
    "content, Content-Length and every other field are the same."
)
