"""Which columns are sums of others, from their correlations: a pivoted Cholesky factorisation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

TOLERANCE = 1e-9
"""Share of a column's variance that the others must leave; below it the column is their sum."""
PARTNER = 1e-6
"""Smallest standardised weight of a column that another is a sum of."""


def correlation_of(moments: Doubles) -> Doubles:
    """Second moments ``(J, J)`` of columns that vary, on a diagonal of one."""
    scale = np.sqrt(np.diagonal(moments))
    return np.asarray(moments / np.outer(scale, scale))


def pivot(correlation: Doubles) -> tuple[list[int], list[int]]:
    """Columns that span all, and those that are left, each ascending; the first among equals."""
    size = len(correlation)
    rest = np.diagonal(correlation).copy()
    rows = np.zeros((size, size))
    taken: list[int] = []
    for step in range(size):
        best = int(np.argmax(rest))
        if rest[best] <= TOLERANCE:
            break
        row = (correlation[best] - rows[:step, best] @ rows[:step]) / np.sqrt(rest[best])
        rows[step] = row
        rest = rest - row**2
        rest[best] = -np.inf
        taken.append(best)
    chosen = set(taken)
    return sorted(taken), [j for j in range(size) if j not in chosen]


def dependent(correlation: Doubles) -> tuple[list[int], list[int]]:
    """Columns that span all, and all that belong to a sum: those left and those they are sums of.

    Each ascending. BLAS is the caller's to pin to one thread.
    """
    taken, left = pivot(correlation)
    weights = np.linalg.solve(correlation[np.ix_(taken, taken)], correlation[np.ix_(taken, left)])
    partners = np.flatnonzero((np.abs(weights) > PARTNER).any(axis=1))
    return taken, sorted([*left, *(taken[i] for i in partners)])
