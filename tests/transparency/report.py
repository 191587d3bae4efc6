"""The comparison as text for a terminal and as a document. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tests.transparency.comparison import Difference
from tests.transparency.running import Outcomes
from tests.transparency.town import KERNEL, Seen

SHOWN = 100
"""Characters of a failure's text."""


@dataclass(frozen=True, slots=True)
class Result:
    """A suite on a way. ``source`` says whose tests they are, with the version."""

    suite: str
    source: str
    way: str
    direct: Outcomes
    found: list[Difference]
    seen: Seen

    @property
    def covered(self) -> bool:
        """Whether the programs had a part in it."""
        judged = self.seen.judged or self.way != KERNEL
        return bool(judged and self.seen.paired and self.seen.redirected)

    @property
    def word(self) -> str:
        """For a cell."""
        if not self.covered:
            return "NOT COVERED"
        if any(one.failed for one in self.found):
            return "FAILED"
        return "ok"


def summary(results: Iterable[Result]) -> str:
    """One line for each suite and way, and one for each test that differs."""
    lines = [f"{'suite':32} {'way':7} {'tests':>6} {'same':>6} {'differ':>6} {'pairs':>6}"]
    for one in results:
        lines.append(
            f"{one.suite:32} {one.way:7} {len(one.direct):>6} {_same(one):>6} "
            f"{len(one.found):>6} {one.seen.paired:>6}  {one.word}"
        )
        lines += [f"  {_mark(each)} {each.test}: {_told(each)}" for each in one.found]
    return "\n".join(lines)


def markdown(results: list[Result], left_out: Iterable[str]) -> str:
    """docs/TRANSPARENCY.md"""
    lines = [
        "# Transparency",
        "",
        "Written by `make transparency`: test suites that others wrote are run in a network "
        "namespace and cgroup without l7proxy, and in the same surroundings with all sockets "
        "covered; every test has to end in the same way. `splice`: no rule concerns the ports, "
        "connections are short-circuited. `kernel`: an HTTP rule that allows everything governs "
        "all ports of the suite's servers, which are a workload of their own; only a suite that "
        "runs its servers as processes of their own can be split so, and a workload always "
        "reaches itself.",
        "",
        "Connections are those with both ends short-circuited, then bytes that went socket to "
        "socket, and those that went by TCP after all (a slow reader, or no way back yet). TLS, "
        "UDP and local sockets in the suites are whatever they are; a run in which nothing was "
        "covered is an error. A test that fails directly and covered counts as the same, and shows "
        "nothing. A test that differs is run again, several times, on both ways. "
        "[SHORT_CIRCUIT.md](SHORT_CIRCUIT.md) lists what short-circuited sockets do differently "
        "whether these suites meet it or not.",
        "",
        "| suite | way | tests | passed | skipped | failed directly | same | different "
        "| connections | bytes | by TCP | |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        words = Counter(outcome.word for outcome in one.direct.values())
        failed = len(one.direct) - words["passed"] - words["skipped"]
        real = sum(not each.unsteady for each in one.found)
        lines.append(
            f"| {one.suite}, {one.source} | {one.way} | {len(one.direct)} | {words['passed']} | "
            f"{words['skipped']} | {failed} | {_same(one)} | {real} | {one.seen.paired} | "
            f"{one.seen.redirected} | {one.seen.by_tcp} | {one.word} |"
        )
    lines += ["", "## Tests that differ", ""]
    lines += _grouped(results) or ["None."]
    lines += ["", "## Unsteady tests", ""]
    lines += [
        f"- {one.suite}, {one.way}: `{each.test}`: {_told(each)}"
        for one in results
        for each in one.found
        if each.unsteady
    ] or ["None differed once and not again."]
    lines += ["", "## Left out", "", *([f"- {line}" for line in left_out] or ["Nothing."])]
    return "\n".join(lines) + "\n"


def _grouped(results: Iterable[Result]) -> list[str]:
    """Tests with the same reason in one paragraph."""
    groups: dict[tuple[str, str, str], list[Difference]] = {}
    for one in results:
        for each in one.found:
            if not each.unsteady:
                key = (one.suite, one.way, each.name or "WITHOUT A NAME")
                groups.setdefault(key, []).append(each)
    lines = []
    for (suite, way, name), found in groups.items():
        lines.append(f"- {suite}, {way}, {len(found)} tests, {name}:")
        lines += [f"  - `{each.test}`: {_told(each)}" for each in found]
    return lines


def _same(one: Result) -> int:
    return len(one.direct) - len(one.found)


def _mark(each: Difference) -> str:
    if each.failed:
        return "FAILED"
    return "unsteady" if each.unsteady else f"named ({each.name})"


def _told(each: Difference) -> str:
    direct, got = (_counted(words) for words in each.words)
    detail = next((one.detail for one in each.got if one.detail), "")
    text = " ".join(detail.split())[:SHOWN].replace("|", "\\|").replace("`", "'")
    return f"directly {direct}; {got}" + (f" (`{text}`)" if text else "")


def _counted(words: list[str]) -> str:
    return ", ".join(f"{word} {count}x" for word, count in Counter(words).items())
