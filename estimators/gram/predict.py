"""Out-of-fold predictions by row, for scores that Grams do not hold (AIPW, weighting, checks)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.gram.accumulate import check
from estimators.gram.blas import Doubles, one_thread
from estimators.gram.columns import Rows
from estimators.gram.evaluate import Evaluator
from estimators.gram.layout import Layout


def predict(layout: Layout, rows: Rows, coefficients: Doubles) -> Doubles:
    """Linear predictions of each row by the coefficients that were fitted without its fold.

    Parameters
    ----------
    rows
        In any order; the result is in theirs. Its last bits follow the order, unlike the sums'.
    coefficients
        ``(K, p, t)``, the constant first.

    Returns
    -------
    ndarray
        ``(t, n)``, in the targets' centred units: add ``layout.centre`` for the column's own.
    """
    check(layout, rows)
    evaluator = Evaluator(layout.basis, layout.block)
    columns = evaluator.read(rows.covariates)
    out = np.empty((coefficients.shape[2], rows.n))
    block = np.empty((layout.p, layout.block))
    with one_thread():
        for start in range(0, rows.n, layout.block):
            cut = slice(start, min(start + layout.block, rows.n))
            part = block[:, : cut.stop - start]
            part[0] = 1.0
            evaluator.fill({name: x[cut] for name, x in columns.items()}, part[1:])
            out[:, cut] = _by_fold(part, rows.fold[cut], coefficients)
    return out


def _by_fold(block: Doubles, fold: NDArray[np.integer[Any]], coefficients: Doubles) -> Doubles:
    out = np.empty((coefficients.shape[2], block.shape[1]))
    for k in np.unique(fold):
        mine = np.flatnonzero(fold == k)
        out[:, mine] = coefficients[k].T @ block[:, mine]
    return out


def probability(linear: Doubles) -> Doubles:
    """The logistic function, without overflow."""
    small = np.exp(-np.abs(linear))
    return np.asarray(np.where(linear >= 0.0, 1.0, small) / (1.0 + small))
