"""A calibration's share of corrected effects, as cells beside the trial's.

Every correction enters in one form: cells with n = 0 and w = 0 whose sums are zero over cells, so
that theta stays, while ``-(a theta + b) / A`` is each cell's share of the effect's error.

- LCC: two cells, from the covariance of its line (`calibration_cells`).
- Tweedie: one cell a calibration draw. A draw is another correction of the same rows, so that with
  the nuisances held its psi_b differs by ``s (corrected' - corrected)``, s the score's slope in
  the outcome; the cell's b is the draw's sum less the draws' mean, over ``sqrt(draws - 1)``. The
  sum of squares is then the variance over draws, and shared draws show between effects, groups
  and windows.
- PPI: a pair of cells ``+-A sd(shift) / sqrt(2)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.cells import EffectScores
from estimators.debias.in_study import Corrections, Predicted
from estimators.debias.linear import LinearCorrection
from estimators.debias.tweedie import TweedieCorrection, cell_sums, weighted_sum
from estimators.debias.uncertainty import calibration_cells
from estimators.scores import score
from estimators.sums import sum_by
from estimators.tallies import Fitted
from estimators.units import Groups, Units

Doubles = NDArray[np.float64]
Pair = tuple[Fitted, EffectScores]


@dataclass(frozen=True, slots=True)
class CalibrationSums:
    """Cells of one calibration for effects under one correction: C cells, E effects.

    Attributes
    ----------
    effects
        Effect ids, length E.
    cell
        Cell ids, length C.
    group
        Index into the grouping's values; 0 for totals.
    a, b
        ``(C, E)`` sums; n and w are zero.
    """

    effects: tuple[str, ...]
    cell: tuple[str, ...]
    group: int
    a: Doubles
    b: Doubles


def calibration_sums(
    units: Units, pairs: Sequence[Pair], corrections: Corrections, groups: Groups | None
) -> list[CalibrationSums]:
    """Calibration cells of the corrected effects among `pairs`, by group."""
    found = []
    width = len(groups.values) if groups else 1
    codes = groups.codes if groups else np.zeros(units.n, dtype=np.int64)
    for outcome, predicted in corrections.predicted.items():
        for correction in ("lcc", "tweedie", "ppi"):
            mine = [
                pair for pair in pairs
                if (pair[0].effect.outcome, pair[0].effect.correction) == (outcome, correction)
            ]  # fmt: skip
            if mine:
                found += _of_correction(units, mine, predicted, corrections, (codes, width))
    return found


def _of_correction(
    units: Units,
    pairs: Sequence[Pair],
    predicted: Predicted,
    corrections: Corrections,
    groups: tuple[NDArray[np.int64], int],
) -> list[CalibrationSums]:
    codes, width = groups
    inside = np.flatnonzero(codes >= 0)
    totals = [
        sum_by(codes[inside], (units.weight * scores.psi_a)[inside], width) for _, scores in pairs
    ]
    total_a = np.stack(totals, axis=1)
    correction = pairs[0][0].effect.correction
    if correction == "lcc":
        return _linear(pairs, predicted, total_a)
    if correction == "tweedie":
        return _drawn(units, pairs, predicted, codes, width)
    return _powered(pairs, predicted, corrections, total_a)


def _ids(pairs: Sequence[Pair]) -> tuple[str, ...]:
    return tuple(scores.effect_id for _, scores in pairs)


def _linear(pairs: Sequence[Pair], predicted: Predicted, total_a: Doubles) -> list[CalibrationSums]:
    fitted = predicted.fitted["lcc"]
    assert isinstance(fitted, LinearCorrection)  # noqa: S101  by name
    found = []
    for group, totals in enumerate(total_a):
        cells = calibration_cells(fitted, totals, label=predicted.label)
        found.append(CalibrationSums(_ids(pairs), cells.cell, group, cells.a, cells.b))
    return found


def _powered(
    pairs: Sequence[Pair], predicted: Predicted, corrections: Corrections, total_a: Doubles
) -> list[CalibrationSums]:
    sd = np.array(
        [
            np.sqrt(corrections.powers[each.effect.treatment, each.effect.outcome].variance)
            for each, _ in pairs
        ]
    )
    names = (f"{predicted.label}:ppi+", f"{predicted.label}:ppi-")
    found = []
    for group, totals in enumerate(total_a):
        half = totals * sd / np.sqrt(2.0)
        b = np.stack([half, -half])
        found.append(CalibrationSums(_ids(pairs), names, group, np.zeros_like(b), b))
    return found


def _drawn(
    units: Units,
    pairs: Sequence[Pair],
    predicted: Predicted,
    codes: NDArray[np.int64],
    width: int,
) -> list[CalibrationSums]:
    fitted = predicted.fitted["tweedie"]
    assert isinstance(fitted, TweedieCorrection)  # noqa: S101  by name
    names = tuple(f"{predicted.label}:draw{place:02d}" for place in range(len(predicted.draws)))
    prediction = units.outcomes[predicted.outcome]
    slopes = [units.weight * outcome_slope(each) for each, _ in pairs]
    found = []
    for group in range(width):
        shifts = [
            _draw_shifts(predicted, fitted, prediction, slope, each.rows & (codes == group))
            for (each, _), slope in zip(pairs, slopes, strict=True)
        ]
        b = np.stack(shifts, axis=1) / np.sqrt(len(names) - 1.0)
        found.append(CalibrationSums(_ids(pairs), names, group, np.zeros_like(b), b))
    return found


def _draw_shifts(
    predicted: Predicted,
    fitted: TweedieCorrection,
    prediction: Doubles,
    slope: Doubles,
    rows: NDArray[np.bool_],
) -> Doubles:
    """Each draw's sum of psi_b less the draws' mean, ``(draws,)``."""
    sums = cell_sums(fitted.grid, prediction[rows], slope[rows])
    totals = np.array([weighted_sum(draw, sums) for draw in predicted.draws])
    return np.asarray(totals - totals.mean(), dtype=np.float64)


def outcome_slope(fitted: Fitted) -> Doubles:
    """What psi_b gains by one more unit of a row's outcome, nuisances held; ``(n,)``.

    psi_b is linear in the outcome: D/m - (1-D)/(1-m) of the ATE, D - m of PLR.
    """
    rows = fitted.rows
    nuisance = {name: values[rows] for name, values in fitted.used.items()}
    z = None if fitted.z is None else fitted.z[rows]
    levels = (np.full(int(rows.sum()), value) for value in (0.0, 1.0))
    zero, one = (score(fitted.effect, y, fitted.d[rows], nuisance, z)[1] for y in levels)
    slope = np.zeros(len(rows))
    slope[rows] = one - zero
    return slope
