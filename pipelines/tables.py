"""Text for a reader: effects as a table, a run in a few lines, what to do next."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobs.pages import wording

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.effects import Found
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


def found_text(found: Found, study: str, *, asked: bool) -> str:
    """Effects, and what was asked of them: groups and contrasts with their joint bands."""
    rows, contrasts = found.rows, found.contrasts
    if not rows and not contrasts:
        return f"{study}: nothing is recorded yet\n"
    grouped = asked and all(row["group_by"] for row in rows)
    shown = _family_text(rows, wording.name) if grouped and rows else ""
    if not asked:
        shown = effects_text(rows)
    shown += _outside_text(found.outside)
    return shown + (_family_text(contrasts, _contrast_name) if contrasts else "")


def _outside_text(outside: Iterable[Mapping[str, Any]]) -> str:
    lines = dict.fromkeys(
        f"{each['window']}: {each['outside']:,} of {each['n']:,} units have no value of"
        f" {each['group_by']!r} and are in no group\n"
        for each in outside
    )
    return "".join(lines)


def _contrast_name(row: Mapping[str, Any]) -> str:
    first, second = row["first"], row["second"]
    name, _, group = first["effect_id"].partition("@")
    if first["window"] != second["window"]:
        return f"{name}, {first['window']} - {second['window']}"
    if group:
        other, _, value = second["effect_id"].partition("@")
        sides = f"{group} - {value}"
        return f"{name}, {sides}" if name == other else f"{name} - {other}, {sides}"
    return f"{first['effect_id']} - {second['effect_id']}"


def _family_text(
    rows: Iterable[Mapping[str, Any]], name: Callable[[Mapping[str, Any]], str]
) -> str:
    """A line a row: interval, joint band, and p-values alone and in the family.

    Aligned here: `rich` would need seconds for a thousand groups.
    """
    lines: list[tuple[str, ...]] = [
        ("window", "effect", "estimate [CI]", "joint band", "SE", "p", "p adjusted", "n")
    ]
    before = None
    for row in rows:
        window = row["window"] if "window" in row else row["first"]["window"]
        places = wording.decimals(row["se"])
        band = [row["band_low"], row["band_high"]]
        lines.append(
            (
                window if window != before else "",
                name(row),
                wording.interval(row),
                "" if band[0] is None else "[" + ", ".join(f"{x:,.{places}f}" for x in band) + "]",
                wording.number(row["se"]),
                *(_p_value(row[column]) for column in ("p_value", "p_adjusted")),
                f"{row['n']:,}" if "n" in row else "",
            )
        )
        before = window
    return _aligned(lines)


def _aligned(lines: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as their widest entry; names begin at the left, figures end at the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            each.ljust(width) if place < 2 else each.rjust(width)  # noqa: PLR2004  two names
            for place, (each, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join(["", text[0], rule, *text[1:], ""]) + "\n"


def _p_value(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004  three decimals


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
