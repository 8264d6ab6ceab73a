"""Outcomes that the covariates tell to the last digit: then no effect is left to estimate.

A copy of the outcome among the covariates, on whatever scale, or its parts (revenue and cost beside
profit), makes every effect zero with an interval of rounding's width. No learner shows it as such:
it only predicts very well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from estimators.dependence import TOLERANCE
from estimators.learners import Design

Doubles = NDArray[np.float64]

SAMPLE = 1000
"""Rows that an identity is looked for in, beside four a column; what is found must hold in all."""
SPARE = 10
"""Rows above two a column, without which any outcome could be spanned."""


def told(design: Design, y: Doubles) -> bool:
    """Whether `y`, ``(n,)``, NaN where missing, is a sum of multiples of covariates.

    Categories are left out, as are covariates that miss values where the outcome is observed.
    """
    rows, numbers = np.flatnonzero(~np.isnan(y)), np.array(design.numbers, dtype=np.intp)
    some = rows[: SAMPLE + 4 * len(design.names)]
    x = _standard(design.values[np.ix_(some, numbers)].astype(np.float64))
    kept = np.flatnonzero(~np.isnan(x).any(axis=0) & (np.abs(x) > 0).any(axis=0))
    if len(kept) == 0 or len(some) < 2 * len(kept) + SPARE or not _holds(x[:, kept], y[some]):
        return False
    whole = _standard(design.values[np.ix_(rows, numbers[kept])].astype(np.float64))
    return not np.isnan(whole).any() and _holds(whole, y[rows])


def _standard(x: Doubles) -> Doubles:
    centred = x - x.mean(axis=0)
    scale = np.abs(centred).max(axis=0, initial=0.0)
    return np.asarray(centred / np.where(scale > 0, scale, 1.0), dtype=np.float64)


def _holds(x: Doubles, y: Doubles) -> bool:
    centred = y - y.mean()
    scale = np.abs(centred).max()
    if scale == 0:
        return False
    centred = centred / scale
    left = centred - x @ np.linalg.lstsq(x, centred, rcond=None)[0]
    return bool((left**2).sum() <= TOLERANCE * (centred**2).sum())
