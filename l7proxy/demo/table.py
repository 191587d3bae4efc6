"""The demo on a terminal, or as plain text where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.syntax import Syntax
from rich.table import Table

from l7proxy.demo.play import Played
from l7proxy.demo.stages import Progress, Stage

PLAIN_WIDTH = 160


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
    shown = Table(box=SIMPLE_HEAD, title="Pods", title_justify="left")
    for column in ("pod", "labels", "addresses", "server", "network namespace"):
        shown.add_column(column)
    for name, pod in stage.pods.items():
        host, port = stage.endpoints.get(name, ("", 0))
        shown.add_row(
            name,
            ",".join(f"{key}={value}" for key, value in pod.labels.items()),
            " ".join(str(address) for address in (pod.v4, pod.v6) if address),
            f"{host}:{port}" if host else "-",
            pod.netns or "-",
        )
    screen.print(shown)
    screen.print(f"The policy, {stage.policy}:", markup=False, soft_wrap=True)
    text = stage.policy.read_text()
    if screen.is_terminal:
        screen.print(Syntax(text, "yaml", background_color="default"))
    else:
        screen.print(text, markup=False, highlight=False)


def show_rows(screen: Console, played: Sequence[Played]) -> None:
    """What each client got, and which rule decided."""
    shown = Table(box=SIMPLE_HEAD, title="Requests", title_justify="left")
    for column in ("what it shows", "from", "to", "request", "the client got", "decided by"):
        shown.add_column(column, overflow="fold")
    shown.add_column("road")
    shown.add_column("as the policy says", no_wrap=True)
    for each in played:
        row = each.row
        texts = (row.title, row.client, row.server, row.request, each.got)
        mark = "[green]yes[/]" if each.good else f"[bold red]NO[/]: {escape(row.expected)}"
        shown.add_row(*map(escape, (*texts, each.decided_by, each.road)), mark)
    screen.print(shown)
    for each in played:
        for problem in each.problems:
            screen.print(f"{each.row.request}: {problem}", style="red", markup=False)
