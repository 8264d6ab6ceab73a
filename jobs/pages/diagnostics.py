"""The figures of checks: overlap by arm, balance before and after weighting, missing values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from conf.gates import CheckRow
from jobs.pages import wording
from jobs.pages.drawing import BLUE, INK, QUIET, VERMILLION, rows_axis, sheet
from jobs.pages.evidence import Evidence, detail
from jobs.pages.wording import Row

_PANELS = 4
_COVARIATES = 25
_COLUMNS = 2
_NEGLIGIBLE = 1e-9
_BALANCED = 0.1
"""Threshold of the love plot where the study sets none."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """A check's detail and the effects that share it."""

    rows: list[Row]
    checks: list[CheckRow]
    detail: Mapping[str, Any]


def _shown(evidence: Evidence, check: str, metric: str, part: str) -> list[_Shown]:
    """Details of a metric over whole effects, those with the same `part` taken together."""
    found: dict[str, _Shown] = {}
    by_effect = {
        each.effect_id: each
        for each in evidence.checks
        if (each.check, each.metric) == (check, metric)
    }
    for row in evidence.whole():
        each = by_effect.get(row["effect_id"])
        facts = detail(each) if each else {}
        if each is None or part not in facts:
            continue
        same = found.setdefault(
            json.dumps([_compared(row, facts), facts[part]], sort_keys=True), _Shown([], [], facts)
        )
        same.rows.append(row)
        same.checks.append(each)
    return list(found.values())


def _compared(row: Row, facts: Mapping[str, Any]) -> tuple[str, list[str]]:
    """What a check compares the arms of, and their names: of a binary treatment 0 and 1."""
    return facts.get("treatment", row["treatment"]), facts.get("arms", ["0", "1"])


def overlap(evidence: Evidence) -> Figure | None:
    """Estimated propensity by arm; None where no effect has one. At most four panels."""
    shown = _shown(evidence, "overlap", "ess_share", "hist")[:_PANELS]
    if not shown:
        return None
    heights = [2.2 + 0.16 * len(_effective(each)) for each in shown]
    figure = sheet(sum(heights))
    grid = figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, each in zip(grid, shown, strict=True):
        _overlap_panel(axes, each)
    return figure


def _overlap_panel(axes: Axes, shown: _Shown) -> None:
    treatment, arms = _compared(shown.rows[0], shown.detail)
    looks = dict(zip(arms, ((BLUE, "-"), (VERMILLION, "--")), strict=True))
    used = 0.0
    hist = shown.detail["hist"]
    for arm, counts in ((arm, hist[arm]) for arm in arms if arm in hist):
        bins = len(counts)
        total = sum(counts) or 1
        edges = [place / bins for place in range(bins + 1)]
        shares = [count / total for count in counts]
        colour, line = looks.get(arm, (QUIET, ":"))
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.18)
        # Histograms add up over repetitions, `n` is of one.
        n = shown.detail.get("n", {}).get(arm, total)
        label = f"{treatment} = {arm} (n = {n:,})"
        axes.stairs(shares, edges, color=colour, linestyle=line, linewidth=1.5, label=label)
        used = max(
            used, max((edges[place + 1] for place in range(bins) if counts[place]), default=0)
        )
    clip = shown.detail.get("clip", 0.0)
    for bound in (clip, 1 - clip):
        axes.axvline(bound, color=INK, linestyle=":", linewidth=0.9)
    axes.set_xlim(0, min(1.0, used + 0.04))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    outcomes = ", ".join(dict.fromkeys(row["outcome"] for row in shown.rows))
    axes.set_title(f"Overlap: who gets {treatment}? (units of {wording.shorten(outcomes, 40)})")
    axes.set_ylabel("share of the arm")
    axes.set_xlabel(
        f"estimated probability of {treatment} = {arms[1]}   (dotted: clipped at {clip:g})\n"
        + "\n".join(_effective(shown)),
        loc="left",
    )
    axes.legend(loc="upper right")


def _effective(shown: _Shown) -> list[str]:
    """Effective sample sizes in words, effects with the same ones in one line; at most four."""
    treatment, _ = _compared(shown.rows[0], shown.detail)
    lines: dict[str, list[str]] = {}
    for row, check in zip(shown.rows, shown.checks, strict=True):
        shares = sorted(detail(check).get("ess", {}).items())
        arms = ", ".join(f"{100 * share:.0f} % of {treatment} = {arm}" for arm, share in shares)
        lines.setdefault(arms, []).append(wording.model(row))
    return [
        wording.shorten(f"effective sample of {', '.join(dict.fromkeys(models))}: {arms}", 96)
        for arms, models in list(lines.items())[:_PANELS]
    ]


def balance(evidence: Evidence) -> dict[str, Figure | None]:
    """Love plots, one a treatment and outcome, its estimands side by side; at most four figures."""
    shown = _shown(evidence, "balance", "max_smd", "smd")
    pairs: dict[tuple[str, str], list[_Shown]] = {}
    for each in shown:
        row = each.rows[0]
        pairs.setdefault((row["treatment"], row["outcome"]), []).append(each)
    figures: dict[str, Figure | None] = {}
    for place, ((treatment, outcome), members) in enumerate(list(pairs.items())[:_PANELS]):
        name = "balance" if place == 0 else f"balance.{treatment}.{outcome}"
        figures[f"figures/{name}.png"] = _love(members[:_COLUMNS])
    return figures


def _love(shown: Sequence[_Shown]) -> Figure:
    worst: dict[str, float] = {}
    for each in shown:
        for entry in each.detail["smd"]:
            sizes = [abs(entry[key] or 0.0) for key in ("raw", "weighted")]
            worst[entry["covariate"]] = max(worst.get(entry["covariate"], 0.0), *sizes)
    order = sorted(worst, key=lambda name: (-worst[name], name))
    names = order[:_COVARIATES]
    figure = sheet(0.2 * len(names) + 1.35)
    grid = figure.subplots(1, len(shown), squeeze=False, sharey=True, sharex=True)[0]
    for axes, each in zip(grid, shown, strict=True):
        _love_panel(axes, each, names)
    grid[0].set_yticklabels([wording.shorten(name, 26) for name in names])
    row = shown[0].rows[0]
    left = len(order) - len(names)
    tail = f"; {left} more below {wording.number(worst[names[-1]], 1)}" if left else ""
    figure.suptitle(
        f"Balance: do the arms of {row['treatment']} look alike?  ({row['outcome']}{tail})",
        x=0.01, ha="left", fontsize=9.5, fontweight="bold",
    )  # fmt: skip
    figure.legend(handles=_love_legend(), loc="outside lower left", ncols=3)
    return figure


def _love_panel(axes: Axes, shown: _Shown, names: Sequence[str]) -> None:
    values = {entry["covariate"]: entry for entry in shown.detail["smd"]}
    rows_axis(axes, list(names))
    limit = shown.checks[0].threshold or _BALANCED
    for bound in (-limit, limit):
        axes.axvline(bound, color=INK, linestyle=":", linewidth=0.9)
    axes.axvline(0, color="#999999", linewidth=0.8)
    for place, name in enumerate(names):
        entry = values.get(name, {})
        raw, weighted = entry.get("raw"), entry.get("weighted")
        if raw is not None and weighted is not None:
            axes.plot([raw, weighted], [place, place], color="#BBBBBB", linewidth=0.9)
        if raw is not None:
            axes.plot(raw, place, "o", color=VERMILLION, markerfacecolor="white", markersize=5)
        if weighted is not None:
            axes.plot(weighted, place, "o", color=BLUE, markersize=5)
    axes.set_title(", ".join(dict.fromkeys(wording.model(row) for row in shown.rows)))
    axes.set_xlabel("standardised mean difference")


def _love_legend() -> list[Line2D]:
    return [
        Line2D(
            [], [], color=VERMILLION, marker="o", markerfacecolor="white", linewidth=0,
            label="before weighting",
        ),
        Line2D([], [], color=BLUE, marker="o", linewidth=0, label="after weighting"),
        Line2D([], [], color=INK, linestyle=":", label="threshold"),
    ]  # fmt: skip


def missing(evidence: Evidence) -> Figure | None:
    """Missing outcomes and covariates by arm; None where nothing is missing or nothing is known."""
    panels = _missing_rows(evidence)
    if not panels:
        return None
    heights = [0.22 * len(rows) + 0.85 for rows in panels.values()]
    figure = sheet(sum(heights))
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (treatment, rows) in zip(grid, panels.items(), strict=True):
        rows_axis(axes, [wording.shorten(label, 34) for label, _, _ in rows])
        places = range(len(rows))
        zero, one = [100 * row[1] for row in rows], [100 * row[2] for row in rows]
        axes.hlines(places, zero, one, color="#BBBBBB", linewidth=1.2)
        name, first, second = treatment
        axes.plot(zero, places, "o", color=BLUE, markersize=6, label=f"{name} = {first}")
        axes.plot(one, places, "D", color=VERMILLION, markersize=5.5, label=f"{name} = {second}")
        axes.set_xlim(0, 1.06 * max(*zero, *one))
        axes.set_title("What is missing, by arm")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
        axes.set_xlabel("missing, % of the units of the arm")
    return figure


def _missing_rows(
    evidence: Evidence,
) -> dict[tuple[str, str, str], list[tuple[str, float, float]]]:
    """By treatment and its two arms: what is missing, its share in each; largest gap first."""
    found: dict[tuple[str, str, str], dict[str, tuple[float, float]]] = {}
    outcomes = {row["effect_id"]: row for row in evidence.whole()}
    for check in evidence.checks:
        facts = detail(check)
        row = outcomes.get(check.effect_id or "")
        if check.check == "attrition" and row is not None and "missing" in facts:
            name = f"outcome {row['outcome']}"
            shares = facts["missing"]
            treatment, (first, second) = _compared(row, facts)
            entry = found.setdefault((treatment, first, second), {})
            entry[name] = (shares[first], shares[second])
        if check.check == "missingness":
            for gap in facts.get("gaps", []):
                first, second = facts.get("arms", ["0", "1"])
                entry = found.setdefault((facts["treatment"], first, second), {})
                entry[gap["covariate"]] = (gap["0"], gap["1"])
    panels = {}
    for arms, gaps in list(found.items())[:_PANELS]:
        rows = [(name, *pair) for name, pair in gaps.items() if max(pair) > _NEGLIGIBLE]
        rows.sort(key=lambda each: (-abs(each[2] - each[1]), each[0]))
        if rows:
            panels[arms] = rows[:_COVARIATES]
    return panels
