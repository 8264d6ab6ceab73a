"""Sums of a column by cluster (by unit, where there is none): what a robust variance is made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from estimators.sums import sum_by
from estimators.tallies import Fitted, Selection, selection
from estimators.units import Units

Doubles = NDArray[np.float64]


def by_cluster(
    units: Units, fitted: Fitted, *columns: Doubles
) -> tuple[Selection, tuple[Doubles, ...]]:
    """Weighted sums by cluster over an effect's rows, each in the place of a cluster's first row.

    Parameters
    ----------
    columns
        ``(n,)`` each.

    Returns
    -------
    tuple
        G rows of weight one, a cluster each, and ``(G,)`` sums of each column.
    """
    index = np.flatnonzero(fitted.rows)
    owner = index if units.cluster is None else units.cluster[index]
    _, first, inverse = np.unique(owner, return_index=True, return_inverse=True)
    weight, order = units.weight[index], np.argsort(first)  # the rows' order, not the clusters'
    sums = tuple(sum_by(inverse, weight * each[index], len(first))[order] for each in columns)
    rows = selection(units, fitted.rep, fitted.rows)
    rows = rows.narrow(np.isin(np.arange(len(index)), first)).reweight(np.ones(units.n))
    return rows, sums
