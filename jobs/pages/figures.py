"""The figures of a run; here those of effects: the forest plot, and the effect over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jobs.pages import wording
from jobs.pages.corrected import corrected
from jobs.pages.diagnostics import balance, missing, overlap
from jobs.pages.drawing import BLUE, FAINT, INK, QUIET, SERIES, png, rows_axis, sheet, style
from jobs.pages.evidence import Evidence, RecordedWindow
from jobs.pages.wording import Row

FOREST = "forest.png"
_PANELS = 4
_ROWS = 44
"""A forest plot of more rows is not read: the rest is in the tables."""
_SERIES = len(SERIES)
_WINDOWS = 120
_EVER = timedelta(days=36_500)
_FEWEST_TICKS = 3
"""With Matplotlib's default of 5 it finds no interval, and warns, for 4 days or for 5 years."""


def draw(evidence: Evidence) -> dict[str, bytes]:
    """All figures that the run has something to show for: path among the artifacts to PNG."""
    with style():
        found: dict[str, Figure | None] = {
            FOREST: forest(evidence),
            "figures/timeline.png": timeline(evidence),
            "figures/overlap.png": overlap(evidence),
            **balance(evidence),
            "figures/missing.png": missing(evidence),
            **corrected(evidence),
        }
        return {path: png(figure) for path, figure in found.items() if figure is not None}


def forest(evidence: Evidence) -> Figure:
    """Every effect with its interval, groups under their whole effect, beside the naive difference.

    One panel an outcome (its units are its own), with the same horizontal axis in every window of
    the study: it spans the intervals of all windows recorded so far. Intervals that leave it end
    in an arrow. At most 44 rows; whole effects come first.
    """
    panels, left_out = _panels(evidence)
    heights = [0.23 * len(rows) + 0.75 for _, rows in panels]
    figure = sheet(sum(heights) + 0.35 + (0.2 if left_out else 0))
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    colours = _colours(evidence)
    for axes, (title, rows) in zip(grid, panels, strict=True):
        _forest_panel(axes, title, rows, evidence, colours)
    figure.legend(handles=_legend(evidence), loc="outside lower left", ncols=2)
    if left_out:
        text = f"{left_out} more effects are in tables/effects.csv"
        figure.suptitle(text, fontsize=8, color=QUIET, x=0.01, ha="left")
    return figure


def _panels(evidence: Evidence) -> tuple[list[tuple[str, list[Row]]], int]:
    """Panels by treatment and outcome, and how many effects did not fit."""
    pairs = list(dict.fromkeys(_panel(row) for row in evidence.whole()))[:_PANELS]
    panels = []
    for pair in pairs:
        rows = [row for row in evidence.effects if _panel(row) == pair]
        first = sorted(rows, key=lambda row: row["group_by"] is not None)[: _ROWS // len(pairs)]
        kept = {row["effect_id"] for row in first}
        shown = [row for row in rows if row["effect_id"] in kept]
        treatment, outcome = rows[0]["treatment"], rows[0]["outcome"]
        title = f"Effect of {treatment} on {outcome} · {evidence.label}"
        if wording.is_mean(rows[0]):
            title = f"{outcome} by arm of {treatment} · {evidence.label}"
        panels.append((title, shown))
    return panels, len(evidence.effects) - sum(len(rows) for _, rows in panels)


def _panel(row: Row) -> tuple[str, str]:
    return row["treatment"], wording.scale(row)


def _colours(evidence: Evidence) -> dict[str, tuple[str, str]]:
    models = list(dict.fromkeys(wording.model(row) for row in evidence.whole()))
    return {each: SERIES[place % _SERIES] for place, each in enumerate(models)}


def _forest_panel(
    axes: Axes,
    title: str,
    rows: Sequence[Row],
    evidence: Evidence,
    colours: dict[str, tuple[str, str]],
) -> None:
    low, high = limits(evidence, wording.scale(rows[0]))
    rows_axis(axes, [_row_label(row) for row in rows])
    axes.axvline(0, color=INK, linewidth=0.9)
    for place, row in enumerate(rows):
        _forest_row(axes, place, row, (low, high), colours[wording.model(row)])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("normal" if row["group_by"] else "bold")
    axes.set_xlim(low, high)
    axes.set_title(title)
    axes.set_xlabel(axis_label(evidence, rows[0]))


def _row_label(row: Row) -> str:
    if row["group_by"]:
        by, value = wording.shorten(row["group_by"], 12), str(row["group_value"])
        return f"{by} = {wording.shorten(value, 18)}"
    arm = f" {wording.treatment(row)}" if row["arm"] else ""
    return wording.shorten(wording.model(row) + arm, 30)


def _forest_row(
    axes: Axes, place: int, row: Row, span: tuple[float, float], look: tuple[str, str]
) -> None:
    colour, marker = look
    right = axes.get_yaxis_transform()
    if not wording.estimable(row):
        axes.text(1.03, place, "not estimable", transform=right, va="center", color=QUIET)
        return
    low, high = span
    start, end = max(row["ci_low"], low), min(row["ci_high"], high)
    whole = row["group_by"] is None
    if start <= end:
        axes.plot([start, end], [place, place], color=colour, linewidth=2.2 if whole else 1.3)
    for edge, out, arrow in ((low, row["ci_low"] < low, "<"), (high, row["ci_high"] > high, ">")):
        if out:
            axes.plot(edge, place, arrow, color=colour, markersize=5, clip_on=False)
    if low <= row["theta"] <= high:
        axes.plot(row["theta"], place, marker, color=colour, markersize=6.5 if whole else 4.5)
    if wording.finite(row["naive"]) and low <= row["naive"] <= high:
        axes.plot(row["naive"], place, "d", color=QUIET, markerfacecolor="white", markersize=5)
    text = wording.interval(row)
    axes.text(1.03, place, text, transform=right, va="center", fontsize=8, color=INK)


def limits(evidence: Evidence, scale: str) -> tuple[float, float]:
    """The horizontal axis of a scale: whole effects in full, groups up to twice their span."""
    if scale not in evidence.ranges:
        return -1.0, 1.0
    low, high, group_low, group_high = evidence.ranges[scale]
    span = (high - low) or 1.0
    low, high = max(group_low, low - span), min(group_high, high + span)
    margin = 0.04 * ((high - low) or 1.0)
    return low - margin, high + margin


def axis_label(evidence: Evidence, row: Row) -> str:
    """What the horizontal axis shows, in words, with the units that the study knows."""
    outcome, treatment = row["outcome"], row["treatment"]
    kind = evidence.study.outcomes[outcome].kind
    dose = evidence.study.treatments[treatment].kind == "continuous"
    what = f"share of {outcome}" if kind == "binary" else outcome
    unit = "1 = 100 %" if kind == "binary" else f"in the units of {outcome}"
    if wording.is_mean(row):
        return f"{what} if all had the arm ({unit})"
    if row["arm"]:
        return f"change in {what} with the arm instead of {row['control']} ({unit})"
    change = f"one more unit of {treatment}" if dose else f"{treatment} = 1 instead of 0"
    return f"change in {what} with {change} ({unit})"


def _legend(evidence: Evidence) -> list[Line2D]:
    text = f"estimate and {wording.level(evidence.main)} interval"
    return [
        Line2D([], [], color=BLUE, marker="o", linewidth=2, label=text),
        Line2D(
            [], [], color=QUIET, marker="d", markerfacecolor="white", linewidth=0,
            label="naive difference, nothing adjusted",
        ),
    ]  # fmt: skip


def timeline(evidence: Evidence) -> Figure | None:
    """Whole effects of every recorded window; None where there is one window only.

    A thin line spans its window, so that a year beside its months reads as what it is. A dotted
    line says where the numerics changed: a step there may not come from the data.
    """
    windows = [each for each in evidence.windows if each.end - each.start < _EVER][-_WINDOWS:]
    if len(windows) <= 1:
        return None
    main = [evidence.row(each) for each in evidence.headline]
    pairs = list(dict.fromkeys(_panel(row) for row in main))[:_PANELS]
    figure = sheet(2.25 * len(pairs) + 0.4)
    grid = figure.subplots(len(pairs), 1, squeeze=False)[:, 0]
    colours = _colours(evidence)
    for axes, pair in zip(grid, pairs, strict=True):
        rows = [row for row in main if _panel(row) == pair][:_SERIES]
        _timeline_panel(axes, rows, windows, evidence, colours)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=4)
    return figure


def _timeline_panel(
    axes: Axes,
    rows: Sequence[Row],
    windows: Sequence[RecordedWindow],
    evidence: Evidence,
    colours: dict[str, tuple[str, str]],
) -> None:
    shortest = min(each.end - each.start for each in windows)
    for place, row in enumerate(rows):
        shift = ((place + 1) / (len(rows) + 1) - 0.5) * shortest
        _timeline_series(axes, row, windows, shift, colours[wording.model(row)])
    axes.axhline(0, color=INK, linewidth=0.9)
    axes.axvspan(
        _x(evidence.start), _x(evidence.end), color=FAINT, alpha=0.45, linewidth=0, zorder=0
    )
    for before, after in pairwise(windows):
        if before.numerics != after.numerics:
            axes.axvline(_x(after.start), color=INK, linestyle=":", label="numerics changed")
    zone = ZoneInfo(evidence.study.window.timezone)
    locator = AutoDateLocator(tz=zone, minticks=_FEWEST_TICKS, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))
    axes.grid(axis="y")
    first = rows[0]
    axes.set_title(
        f"{first['treatment']} on {first['outcome']}, by window (shaded: {evidence.label})"
    )
    word = "mean of" if wording.is_mean(first) else "change in"
    axes.set_ylabel(f"{word} {first['outcome']}")


def _timeline_series(
    axes: Axes,
    row: Row,
    windows: Sequence[RecordedWindow],
    shift: timedelta,
    look: tuple[str, str],
) -> None:
    colour, marker = look
    label: str | None = wording.model(row) + (f" {wording.treatment(row)}" if row["arm"] else "")
    for window in windows:
        found = window.effects.get(row["effect_id"])
        if found is None or not wording.estimable(found):
            continue
        middle = _x(window.start + (window.end - window.start) / 2 + shift)
        span = [_x(window.start), _x(window.end)]
        theta = found["theta"]
        axes.plot([middle, middle], [found["ci_low"], found["ci_high"]], color=colour, lw=1.6)
        axes.plot(span, [theta, theta], color=colour, lw=0.8, alpha=0.4)
        axes.plot([middle], [theta], marker, color=colour, markersize=5, label=label)
        label = None


def _x(when: datetime) -> float:
    return float(date2num(when))
