"""Text for a reader: effects as a table, a run in a few lines, what to do next."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from jobs.pages import wording

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.execution import Execution

_WIDE = 160
_COLOURS = {"holds": "green", "doubtful": "yellow", "rejected": "red"}


def rendered(table: Table) -> str:
    """A table as text: as wide as the terminal, or wide enough not to wrap."""
    from rich.console import Console

    terminal = sys.__stdout__ is not None and sys.__stdout__.isatty()
    width = max(80, shutil.get_terminal_size().columns) if terminal else _WIDE
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=terminal).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def effects_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """A line an effect: interval, clustered and plain standard error, verdict, failed checks."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("window", "effect"):
        table.add_column(name, no_wrap=True)
    for name in ("estimate [CI]", "SE", "SE (units)", "naive", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("failed checks", overflow="fold")
    before = None
    for row in rows:
        table.add_row(*_cells(row, row["window"] if row["window"] != before else ""))
        before = row["window"]
    return rendered(table)


def _cells(row: Mapping[str, Any], window: str) -> list[str]:
    verdict = str(row["verdict"])
    return [
        window,
        wording.name(row),
        wording.interval(row).replace("[", "\\["),
        wording.number(row["se"]),
        wording.number(row["se_hc0"]) if row["se_kind"] != "hc0" else "",
        wording.number(row["naive"]),
        f"{row['n']:,}",
        f"[{_COLOURS[verdict]}]{verdict}[/]",
        ", ".join(row["checks_failed"]),
    ]


def run_text(execution: Execution) -> str:
    """How a run ended, in words."""
    label = execution.span.label if execution.span else ""
    lines = [f"{execution.study} {label}: {execution.message}"]
    if execution.run_key:
        lines += [f"  run key {execution.run_key}", f"  effects digest {execution.digest}"]
    if execution.mlflow:
        lines += [f"  MLflow run {execution.mlflow['run_id']} (`causeway ui` opens it)"]
    if execution.found:
        lines += [f"  gate failed: {gate}" for gate in execution.found.gates]
    seconds = [f"{name} {each['seconds']} s" for name, each in execution.stages.items()]
    return "\n".join([*lines, f"  {', '.join(seconds)}", ""])
