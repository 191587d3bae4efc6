"""Writes the reference pages in docs/ that repeat what the code says.

Usage: python scripts/write_docs.py [--check]; with --check it only says which page is not current.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from l7proxy.datapath.short_circuit import DIFFERENCES, OPT_OUT
from l7proxy.limits import Limits
from l7proxy.reasons import Reason

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Written by scripts/write_docs.py; change the source and run it. -->"


def limits() -> str:
    """docs/LIMITS.md"""
    rows = [
        f"| `{limit.name}` | {limit.default} | {limit.metadata['reason']} |"
        for limit in dataclasses.fields(Limits)
    ]
    return "\n".join(
        [
            "# Limits",
            "",
            NOTE,
            "",
            "Every bound that l7proxy puts on what others send it. The section `limits:` of the",
            "configuration sets them by these names. Sizes are in bytes, times in seconds.",
            "",
            "| limit | default | reason |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def reasons() -> str:
    """docs/REASONS.md"""
    rows = [f"| `{reason}` | {reason.status or '-'} | {reason.meaning} |" for reason in Reason]
    return "\n".join(
        [
            "# Reasons",
            "",
            NOTE,
            "",
            "Why a connection or a request was let through, refused or failed: the list from",
            "which flow records, metrics and `explain` take their reason. A name is stable once it",
            "is released. The status is what the client is answered; `-` where no answer of ours",
            "belongs to the reason: the request is served, or the connection is not made.",
            "",
            "| reason | status | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def short_circuit() -> str:
    """docs/SHORT_CIRCUIT.md"""
    return "\n".join(
        [
            "# What a short-circuited socket does differently",
            "",
            NOTE,
            "",
            "Most are limits of the kernel's socket maps, which no program can repair. `l7proxy",
            "doctor` states them too. A workload that depends on one of them gets the annotation",
            f"`{OPT_OUT}` and stays on plain TCP.",
            "",
            "| name | what |",
            "|---|---|",
            *(f"| {each.name} | {each.text} |" for each in DIFFERENCES),
            "",
        ]
    )


PAGES = {"LIMITS.md": limits, "REASONS.md": reasons, "SHORT_CIRCUIT.md": short_circuit}


def main(arguments: list[str]) -> int:
    stale = []
    for name, write in PAGES.items():
        page, text = DOCS / name, write()
        if page.exists() and page.read_text() == text:
            continue
        stale.append(name)
        if arguments != ["--check"]:
            DOCS.mkdir(exist_ok=True)
            page.write_text(text)
    if stale and arguments == ["--check"]:
        print(f"not current: {', '.join(stale)}; run: python scripts/write_docs.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
