"""What is being measured now: a bar with the time left on a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

PACE_SECONDS = 120.0
"""The time left follows from the measurements of so long."""


class Progress(Protocol):
    """Told by the sections what they do."""

    def __call__(self, text: str) -> None:
        """Something begins."""

    def measured(self) -> None:
        """One of the measurements that were expected is done."""


class Lines:
    """Each text to ``write``. How many measurements are done is in the texts."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self.done = 0

    def __call__(self, text: str) -> None:
        self._write(text)

    def measured(self) -> None:
        self.done += 1


class TimeLeft(ProgressColumn):
    """From the pace of the measurements so far; before, as if each took its ``seconds`` alone."""

    max_refresh = 0.5

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        if left is None:
            left = (task.remaining or 0.0) * self._seconds
        return Text(f"about {timedelta(seconds=round(left))} left", style="progress.remaining")


class Bar:
    """A task of rich's, of so many measurements."""

    def __init__(self, bar: RichProgress, expected: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=expected)

    def __call__(self, text: str) -> None:
        self._bar.update(self._task, description=escape(text))

    def measured(self) -> None:
        self._bar.advance(self._task)


@contextmanager
def shown(console: Console, expected: int, seconds: float) -> Iterator[Progress]:
    """A bar if ``console`` is a terminal, and lines if it is not.

    ``expected`` measurements are to come, of ``seconds`` each or of about as much.
    """
    if not console.is_terminal:
        yield Lines(
            lambda text: console.print(f"... {text}", style="dim", markup=False, highlight=False)
        )
        return
    # Of the text is shown what the width has room for; a bar of two lines would flicker.
    shortened = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeLeft(seconds),
        TextColumn("{task.description}", style="dim", table_column=shortened),
    )
    with RichProgress(
        *columns,
        console=console,
        transient=True,
        expand=True,
        speed_estimate_period=PACE_SECONDS,
    ) as bar:
        yield Bar(bar, expected)
