"""The matrix as text for a terminal and as a document. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.compat.comparison import HOP_TEXT, NAMED, Difference

Cells = Mapping[tuple[str, str, str], list[Difference]]
Direct = Mapping[tuple[str, str, str], Any]
ROADS = ("splice", "kernel", "proxy")
UNEXPLAINED = 3
"""How many differences without a name a cell shows at most."""


def summary(cells: Cells, direct: Direct) -> str:
    """One line for each server and client, and one for each difference without a name."""
    lines = [f"{'server':12} {'client':12} {'asked':>5}  " + "  ".join(f"{r:12}" for r in ROADS)]
    for server, client in _pairs(cells):
        words = [_word(cells.get((server, client, road))) for road in ROADS]
        asked = _asked(direct, server, client)
        lines.append(f"{server:12} {client:12} {asked:>5}  " + "  ".join(f"{w:12}" for w in words))
    for (server, client, road), found in cells.items():
        lines += [
            f"FAILED {road}: {client} to {server}, {one.exchange}: {one.text}"
            for one in found
            if one.name is None
        ]
    return "\n".join(lines)


def markdown(cells: Cells, direct: Direct, missing: Iterable[str]) -> str:
    """docs/COMPATIBILITY.md."""
    asked = sum(_asked(direct, *pair) for pair in _pairs(cells))
    lines = [
        "# Compatibility",
        "",
        "Written by `make compat`: real clients ask real servers a fixed set of exchanges "
        "(`tests/compat/exchanges.py`), directly and on each road, and every answer is held "
        "against the direct one: status, content, header fields, trailers. wrk, ab and h2load "
        "only have to succeed. nginx, Apache, HAProxy and Envoy stand in front of a Node "
        "application; the others serve the application themselves.",
        "",
        f"{asked} exchanges on each way. `ok` is the same answer to each; `ok (n)` has n answers "
        "with a difference of the list below, `hop-by-hop` not counted; `FAILED` has one that is "
        "not on the list.",
        "",
        "| server | client | exchanges | " + " | ".join(ROADS) + " |",
        "|---|---|---|---|---|---|",
    ]
    for server, client in _pairs(cells):
        words = " | ".join(_word(cells.get((server, client, road))) for road in ROADS)
        lines.append(f"| {server} | {client} | {_asked(direct, server, client)} | {words} |")
    lines += ["", "## Differences that have a name", ""]
    used = {one.name for found in cells.values() for one in found}
    texts = {name: text for name, (text, _) in NAMED.items()} | {"hop-by-hop": HOP_TEXT}
    lines += [f"- **{name}**: {texts[name]}" for name in texts if name in used]
    failed = [
        f"- {road}, {client} to {server}, {one.exchange}: {one.text}"
        for (server, client, road), found in cells.items()
        for one in [one for one in found if one.name is None][:UNEXPLAINED]
    ]
    lines += ["", "## Differences without a name", "", *(failed or ["None."])]
    errors = [
        f"- {client} to {server}, {exchange}: {line['error']}"
        for (client, server, exchange), line in direct.items()
        if line["error"]
    ]
    lines += ["", "## Failed directly too, and in the same way on each road unless told above", ""]
    lines += errors or ["None."]
    lines += ["", "## Left out", "", *([f"- {line}" for line in missing] or ["Nothing."])]
    return "\n".join(lines) + "\n"


def _pairs(cells: Cells) -> list[tuple[str, str]]:
    return list(dict.fromkeys((server, client) for server, client, _ in cells))


def _asked(direct: Direct, server: str, client: str) -> int:
    return sum(key[:2] == (client, server) for key in direct)


def _word(found: list[Difference] | None) -> str:
    if found is None:
        return "not run"
    if any(one.name is None for one in found):
        return "FAILED " + next(one.exchange for one in found if one.name is None)
    named = len({one.exchange for one in found if one.name != "hop-by-hop"})
    return f"ok ({named})" if named else "ok"
