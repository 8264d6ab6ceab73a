"""The figures of predicted outcomes: calibration, density, the gate, and estimates over tau."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jobs.pages import wording
from jobs.pages.drawing import (
    BLUE,
    FAINT,
    INK,
    QUIET,
    SERIES,
    VERMILLION,
    png,
    rows_axis,
    sheet,
    style,
)
from jobs.pages.evidence import Evidence, detail

_FIGURES = 4
_TITLES = {"none": "as it is", "lcc": "LCC", "tweedie": "Tweedie", "ppi": "PPI"}


def corrected(evidence: Evidence) -> dict[str, Figure | None]:
    """Figures of each predicted outcome, at most four; path among the artifacts to figure."""
    figures: dict[str, Figure | None] = {}
    for place, (pair, facts) in enumerate(list(_facts(evidence).items())[:_FIGURES]):
        end = "" if place == 0 else f".{pair[0]}.{pair[1]}"
        figures[f"figures/calibration{end}.png"] = calibration(facts, pair[1])
        figures[f"figures/density{end}.png"] = density(facts, pair[1])
        figures[f"figures/gate{end}.png"] = gate(facts, *pair)
    return figures


def _facts(evidence: Evidence) -> dict[tuple[str, str], dict[str, Any]]:
    """The gate's facts by treatment and outcome."""
    rows = {row["effect_id"]: row for row in evidence.whole()}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for check in evidence.checks:
        row = rows.get(check.effect_id or "")
        facts = detail(check) if check.check == "correction" else {}
        if row is not None and "picture" in facts:
            found.setdefault((row["treatment"], row["outcome"]), facts)
    return found


def calibration(facts: Mapping[str, Any], outcome: str) -> Figure:
    """Prediction against truth in twentieths of the truth, with the line; and what it leaves."""
    picture, line = facts["picture"], facts["line"]
    truth, mean, spread = (np.array(picture[name]) for name in ("truth", "prediction", "spread"))
    figure = sheet(2.9)
    left, right = figure.subplots(1, 2)
    left.errorbar(truth, mean, spread, fmt="o", color=BLUE, markersize=4, linewidth=0.8)
    left.plot(truth, truth, color=QUIET, linestyle=":", label="prediction = truth")
    left.set_xlabel(f"{outcome}, true (twentieths)")
    left.set_ylabel("predicted, mean and sd")
    right.set_xlabel(f"{outcome}, true (twentieths)")
    right.axhline(0, color=INK, linewidth=0.9)
    if line is None:
        left.set_title("Calibration (no line: the slope is not positive)")
        right.plot(truth, mean - truth, "o", color=BLUE, markersize=4)
        right.set_title("Predicted less true")
    else:
        fitted = line["intercept"] + line["slope"] * truth
        label = f"slope {line['slope']:.3f} (se {line['slope_se']:.3f})"
        left.plot(truth, fitted, color=VERMILLION, label=label)
        left.set_title(f"Calibration, {facts['calibration']['n']:,} rows")
        right.plot(truth, mean - fitted, "o", color=BLUE, markersize=4)
        right.set_title("Predicted less the line")
    left.legend(loc="upper left")
    right.grid(axis="y")
    return figure


def density(facts: Mapping[str, Any], outcome: str) -> Figure:
    """Density of the calibration's predictions, and by how much each correction moves them."""
    picture, line = facts["picture"], facts["line"]
    at = np.array(picture["at"])
    figure = sheet(2.9)
    left, right = figure.subplots(1, 2)
    left.fill_between(at, picture["density"], color=BLUE, alpha=0.25, linewidth=0)
    left.plot(at, picture["density"], color=BLUE)
    left.set_title("Density of predictions")
    left.set_xlabel(f"{outcome}, predicted")
    left.set_ylim(bottom=0)
    right.axhline(0, color=INK, linewidth=0.9)
    right.plot(at, np.array(picture["tweedie"]) - at, color=BLUE, label="Tweedie")
    if line is not None:
        moved = (at - line["intercept"]) / line["slope"] - at
        right.plot(at, moved, color=VERMILLION, linestyle="--", label="LCC")
    right.set_title(f"Corrected less predicted (s = {facts['sigma']:.3g})")
    right.set_xlabel(f"{outcome}, predicted")
    right.legend(loc="best")
    right.grid(axis="y")
    return figure


def gate(facts: Mapping[str, Any], treatment: str, outcome: str) -> Figure | None:
    """The gate's table: labelled rows' mean of candidate - truth by stratum, beside the margin."""
    rows = facts["table"]
    if not rows:
        return None
    figure = sheet(0.23 * len(rows) + 1.25)
    axes = figure.subplots()
    candidates = list(dict.fromkeys(row["candidate"] for row in rows))
    rows_axis(
        axes,
        [f"{_TITLES.get(row['candidate'], row['candidate'])}: {row['stratum']}" for row in rows],
    )
    margin = rows[0]["margin"]
    axes.axvspan(-margin, margin, color=FAINT, alpha=0.5, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.9)
    for place, row in enumerate(rows):
        colour, marker = SERIES[candidates.index(row["candidate"]) % len(SERIES)]
        ends = [row["difference"] - 1.96 * row["se"], row["difference"] + 1.96 * row["se"]]
        axes.plot(ends, [place, place], color=colour, linewidth=1.8)
        axes.plot(row["difference"], place, marker, color=colour, markersize=5)
        text = f"{row['found']}  (n = {row['n']:,}, p = {wording.number(row['wald_p'], 2)})"
        axes.text(
            1.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8,
            color=INK,
        )  # fmt: skip
    answer = facts["answer"] + (f": {facts['correction']}" if facts["correction"] else "")
    title = f"{outcome} by arms of {treatment}, on labelled rows. The gate says: {answer}"
    figure.suptitle(wording.shorten(title, 84), x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    axes.set_xlabel("mean of candidate less truth, in sd of the truth, 95 %  (shaded: margin)")
    return figure


def over_tau(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str) -> Figure:
    """Estimates of a simulation against the truth: a panel a method, with slope and mean error.

    Parameters
    ----------
    series
        By method: true effects and their estimates.
    """
    figure = sheet(2.4)
    grid = figure.subplots(1, len(series), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, (tau, estimate)) in zip(grid, series.items(), strict=True):
        _panel(axes, name, np.asarray(tau), np.asarray(estimate))
    grid[0].set_ylabel("estimate")
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    return figure


def _panel(axes: Axes, name: str, tau: Any, estimate: Any) -> None:
    low, high = float(tau.min()), float(tau.max())
    axes.plot([low, high], [low, high], color=QUIET, linestyle=":")
    axes.plot(tau, estimate, "o", color=BLUE, markersize=2.5)
    slope = float(np.polyfit(tau, estimate, 1)[0])
    error = float(np.abs(estimate - tau).mean())
    axes.set_title(f"{name}\nslope {slope:.2f}\nMAE {error:.2f}", fontsize=8)
    axes.set_xlabel("true effect")
    axes.grid(visible=True)


def draw_results(path: Path, predictor: str, number: str) -> bytes:
    """`over_tau` of one map of the committed simulation (columns ``tau`` and a method each)."""
    with path.open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["predictor"], row["map"], row["error"]) == (predictor, number, "")
        ]
    tau = [float(row["tau"]) for row in rows]
    series = {
        title: (tau, [float(row[name]) for row in rows])
        for name, title in (("naive", "as it is"), ("lcc", "LCC"), ("tweedie", "Tweedie"),
                            ("ppi", "PPI, 100 labels"), ("ratledge", "Ratledge"))
        if all(row[name] for row in rows)
    }  # fmt: skip
    with style():
        return png(over_tau(series, f"Estimates of 50 effects from predictions ({predictor})"))


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(draw_results(Path(sys.argv[1]), *sys.argv[3:5]))
