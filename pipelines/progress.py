"""How far a run is: bars on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from jobs.ledger import Progress


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """Say nothing; as in `jobs.ledger`, which would import pyarrow."""


CURRENT: ContextVar[Progress] = ContextVar("progress", default=silent)
"""Where the stages of this run report to; a flow started by a Prefect worker has no terminal."""

_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def reporting(*, quiet: bool = False) -> Iterator[Progress]:
    """Show progress on stderr until leaving; it is the `CURRENT` one meanwhile."""
    if quiet:
        with _current(silent):
            yield silent
    elif sys.stderr.isatty():
        with _bars() as bars, _current(bars):
            yield bars
    else:
        lines = Lines()
        with _current(lines):
            yield lines


@contextmanager
def _current(progress: Progress) -> Iterator[None]:
    token = CURRENT.set(progress)
    try:
        yield
    finally:
        CURRENT.reset(token)


class Lines:
    """A line when a stage starts, every few seconds, and when it ends."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Report `done` of `total` steps."""
        now = time.monotonic()
        due = now - self._said.get(stage, -_SECONDS_BETWEEN_LINES) >= _SECONDS_BETWEEN_LINES
        if due or done >= total:
            self._said[stage] = now
            count = f" {done}/{total}" if total else ""
            print(f"{stage}{count}{': ' + note if note else ''}", file=sys.stderr, flush=True)


class Bars:
    """A bar a stage."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Report `done` of `total` steps."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total or None, note=note)
        self._bars.update(self._tasks[stage], completed=done, total=total or None, note=note)


@contextmanager
def _bars() -> Iterator[Bars]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with RichProgress(*columns, console=Console(stderr=True), refresh_per_second=4) as bars:
        yield Bars(bars)
