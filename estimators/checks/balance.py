"""Balance: standardised mean differences of the covariates between arms, before and after weights.

The denominator is the raw pooled standard deviation in both, so that weighting cannot improve the
figure by spreading the arms. Source: Austin 2009, *Balance diagnostics*.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from estimators.checks.arms import ARMS, facts, weighting_of
from estimators.checks.result import Finding
from estimators.effects import EffectSpec
from estimators.tallies import Fitted, Selection, Tallies, Tally, selection, tally
from estimators.units import Units

LEVELS = 50
"""Of a category, the most frequent levels are compared; the others are too thin to tell."""


def tallies_of(units: Units, fitted: Fitted) -> list[Tally]:
    """Covariates by arm, raw and weighted; a category is one subject a level."""
    effect = fitted.effect
    everyone = selection(units, fitted.rep, fitted.rows)
    rows: list[Tally] = []
    for arm, inside, weight in zip(ARMS, fitted.arms, fitted.weights, strict=True):
        raw = everyone.narrow(inside[everyone.index])
        weighted = raw.reweight(units.weight * weight)
        for weighting, chosen in (("raw", raw), (weighting_of(effect), weighted)):
            for subject, kept, x in _subjects(units, chosen):
                rows += tally(
                    kept, x, f"covariate:{subject}", effect_id=effect.effect_id, arm=arm,
                    weighting=weighting,
                )  # fmt: skip
    return rows


def _subjects(
    units: Units, chosen: Selection
) -> Iterator[tuple[str, Selection, NDArray[np.float64]]]:
    """Name, rows and values of every covariate; missing values are left out."""
    design = units.design
    for j, name in enumerate(design.names):
        column = design.values[chosen.index, j]
        if j in design.categories:
            for code in _levels(units, j):
                yield f"{name}={design.categories[j][code]}", chosen, (column == code).astype(float)
        else:
            seen = ~np.isnan(column)
            yield name, chosen.narrow(seen), column[seen].astype(np.float64)


def _levels(units: Units, j: int) -> list[int]:
    column = units.design.values[:, j]
    codes = column[~np.isnan(column)].astype(np.int64)
    counts = np.bincount(codes, minlength=len(units.design.categories[j]))
    return sorted(np.argsort(-counts, kind="stable")[:LEVELS].tolist())


def run(tallies: Tallies, effect: EffectSpec) -> list[Finding]:
    """Largest absolute standardised mean difference, raw and weighted."""
    name, weighting = effect.effect_id, weighting_of(effect)
    table = []
    for subject in tallies.subjects("covariate:", name):
        control, treated = (tallies.find(subject, effect_id=name, arm=arm) for arm in ARMS)
        after = [
            tallies.find(subject, effect_id=name, arm=arm, weighting=weighting) for arm in ARMS
        ]
        spread = _pooled_sd(control, treated)
        table.append(
            {
                "covariate": subject.removeprefix("covariate:"),
                "raw": _smd(control, treated, spread),
                "weighted": _smd(after[0], after[1], spread),
            }
        )
    detail = {"smd": table} | facts(effect)
    return [
        Finding(name, "max_smd_raw", _largest(table, "raw"), detail),
        Finding(name, "max_smd", _largest(table, "weighted"), detail),
    ]


def _pooled_sd(control: Tally | None, treated: Tally | None) -> float:
    """Pooled within-arm standard deviation; of both arms together where each is constant.

    (A covariate that *is* the treatment is constant within the arms: no reason to pass.)
    """
    if control is None or treated is None or control.w <= 0 or treated.w <= 0:
        return 0.0
    variances = [each.xx / each.w - (each.x / each.w) ** 2 for each in (control, treated)]
    pooled = float(np.sqrt(max(sum(variances) / 2.0, 0.0)))
    if pooled > _tiny(control):
        return pooled
    w = control.w + treated.w
    between = treated.x / treated.w - control.x / control.w
    return abs(between) * float(np.sqrt(control.w * treated.w)) / w


def _tiny(control: Tally) -> float:
    """What rounding alone may leave of a standard deviation, in sums of squares."""
    return 1e-7 * abs(control.x / control.w)


def _smd(control: Tally | None, treated: Tally | None, spread: float) -> float | None:
    if control is None or treated is None or control.w <= 0 or treated.w <= 0:
        return None
    difference = treated.x / treated.w - control.x / control.w
    return difference / spread if spread > _tiny(control) else 0.0


def _largest(table: Sequence[Mapping[str, object]], column: str) -> float | None:
    values = [abs(each) for row in table if isinstance(each := row[column], float)]
    return max(values) if values else None
