"""The demo on a terminal, or as plain text where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from l7proxy.demo.play import Played
from l7proxy.demo.scenario import Row
from l7proxy.demo.stages import Progress, Stage

PLAIN_WIDTH = 120

_ROADS = {
    "proxy": "on the proxy road",
    "splice": "on the splice road",
    "refused": "refused before any request",
    "none": "not through the agent",
}


def console() -> Console:
    """Standard output; wide enough for the table where it is no terminal."""
    found = Console()
    return found if found.is_terminal else Console(width=PLAIN_WIDTH)


@contextmanager
def progress(screen: Console) -> Iterator[Progress]:
    """A line that says what is being done; on a terminal it moves and is gone afterwards."""
    if not screen.is_terminal:
        yield lambda text: screen.print(f"... {text}", markup=False)
        return
    with Status("", console=screen) as status:
        yield lambda text: status.update(escape(text))


def show_stage(screen: Console, stage: Stage) -> None:
    """The pods and the policy."""
    shown = Table(box=SIMPLE_HEAD, title="Pods", title_justify="left", title_style="bold")
    for column in ("pod", "labels", "addresses", "serves on"):
        shown.add_column(column)
    for name, pod in stage.pods.items():
        host, port = stage.endpoints.get(name, ("", 0))
        shown.add_row(
            name,
            ",".join(f"{key}={value}" for key, value in pod.labels.items()),
            " ".join(str(address) for address in (pod.v4, pod.v6) if address),
            f"{host}:{port}" if host else "-",
        )
    screen.print(shown)
    screen.print("The policy", style="bold", end="")
    screen.print(f", {stage.policy}:\n", markup=False, highlight=False, soft_wrap=True)
    text = stage.policy.read_text()
    if screen.is_terminal:
        screen.print(Syntax(text, "yaml", background_color="default"))
    else:
        screen.print(text, markup=False, highlight=False)


class Requests:
    """The table of requests: what each client got and who decided, a line as soon as it is known.

    What a request shows is left out where the terminal is too narrow for it.
    """

    def __init__(self, screen: Console, rows: Iterable[Row]) -> None:
        self._screen = screen
        rows = tuple(rows)
        self._widths = (2, max(len(row.request) for row in rows), 22, 15)
        whole = sum(self._widths) + 2 * len(self._widths) + max(len(row.title) for row in rows)
        self._titles = whole < screen.width
        self._group = ""

    def begin(self) -> None:
        """The headings."""
        self._screen.print("Requests", style="bold")
        headings = ("", "request", "the client got", "decided by", "what it shows")
        self._line(headings, "bold", "bold")

    def add(self, played: Played) -> None:
        """One request, and below it what is wrong with it."""
        row = played.row
        group = f"{row.client} to {row.server}, {_ROADS.get(played.road, played.road)}"
        if group != self._group:
            self._group = group
            self._screen.print(f"{group}:", style="cyan", highlight=False)
        mark, style = ("ok", "green") if played.good else ("NO", "bold red")
        self._line((mark, row.request, played.got, played.decided_by, row.title), style, "")
        for problem in played.problems:
            self._screen.print(f"    {problem}", style="red", markup=False, highlight=False)

    def _line(self, cells: tuple[str, ...], mark_style: str, style: str) -> None:
        padded = [cell.ljust(width) for cell, width in zip(cells, self._widths, strict=False)]
        line = Text("  ").join([Text(padded[0], mark_style), *(Text(x, style) for x in padded[1:])])
        if self._titles:
            line.append(f"  {cells[-1]}", style or "dim")
        line.rstrip()
        self._screen.print(line, soft_wrap=True)
