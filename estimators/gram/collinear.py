"""Which basis columns are constant, or sums of others: named, so that a user can mend the basis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from estimators.dependence import PARTNER, pivot
from estimators.gram.blas import one_thread
from estimators.gram.ridge import centred
from estimators.gram.system import Gram


@dataclass(frozen=True, slots=True)
class Dependence:
    """A column that others give: ``column = sum of weight x partner``, on unit variances."""

    column: str
    partners: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Collinearity:
    """What a ridge penalty hides in a basis.

    Attributes
    ----------
    constant
        Columns without variation.
    dependent
        Columns that are sums of columns kept.
    """

    constant: tuple[str, ...]
    dependent: tuple[Dependence, ...]


def collinearity(gram: Gram, names: Sequence[str]) -> Collinearity:
    """Find constant and collinear columns among the regressors.

    Parameters
    ----------
    names
        Names of the basis columns, p - 1 of them, without the constant.

    Notes
    -----
    A pivoted Cholesky factorisation of the correlation matrix: the column with the most variance
    left is taken, until none has more than `dependence.TOLERANCE`. Those left over depend on
    those taken.
    """
    _, products = centred(gram)
    d = gram.p - 1
    scale = np.sqrt(np.clip(np.diagonal(products)[:d], 0.0, None))
    raw = np.sqrt(np.clip(np.diagonal(gram.values)[1 : d + 1], 0.0, None))
    varying = np.flatnonzero(scale > 1e-7 * np.maximum(raw, 1e-300))
    constant = tuple(names[j] for j in range(d) if j not in set(varying.tolist()))
    correlation = products[np.ix_(varying, varying)] / np.outer(scale[varying], scale[varying])
    with one_thread():
        taken, left = pivot(correlation)
        weights = np.linalg.solve(
            correlation[np.ix_(taken, taken)], correlation[np.ix_(taken, left)]
        )
    dependent = tuple(
        Dependence(
            names[varying[column]],
            tuple(
                (names[varying[taken[i]]], float(weights[i, j]))
                for i in np.flatnonzero(np.abs(weights[:, j]) > PARTNER)
            ),
        )
        for j, column in enumerate(left)
    )
    return Collinearity(constant, dependent)
