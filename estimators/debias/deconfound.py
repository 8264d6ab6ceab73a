"""Reward deconfounding: an outcome less the effect of known confounders, Y - h(C), out of fold.

Partially linear, ``Y = E'beta + h(C) + noise`` with E an embedding (of a text, an image) and C
confounders that moved both E and Y. After Robinson: l(C) = E[Y|C] and r(C) = E[E|C] are fitted
first, beta from the residuals, and ``h(C) = l(C) - r(C)'beta``. Removing E[Y|C] itself would also
take away what E does through its dependence on C.

Source: Loghmani 2025, *Aligning Language Models with Observational Data* (DeconfoundLM), arXiv
2506.00152; Robinson 1988, *Root-N-consistent semiparametric regression*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.errors import ContractError

Doubles = NDArray[np.float64]
Learner = Callable[[Doubles, Doubles, Doubles], Doubles]
"""``learner(c_train, targets_train, c_test)``: conditional means ``(n_test, q)`` of q targets."""

KNOTS = 8
PENALTY = 1.0


@dataclass(frozen=True, slots=True)
class Deconfounded:
    """An outcome without its confounders' part.

    Attributes
    ----------
    outcome
        ``(n,)`` Y - h(C), on the scale and about the mean of Y.
    confounding
        ``(n,)`` h(C), out of fold, of mean zero over the other folds.
    beta
        ``(folds, p)`` coefficients of the embedding, a row a fold.
    """

    outcome: Doubles
    confounding: Doubles
    beta: Doubles


def deconfound(
    outcome: Doubles,
    embedding: Doubles,
    confounders: Doubles,
    fold: NDArray[np.integer[Any]],
    *,
    learner: Learner | None = None,
    penalty: float = PENALTY,
) -> Deconfounded:
    """Remove h(C) from `outcome`, with h from the other folds.

    Parameters
    ----------
    outcome, embedding, confounders
        ``(n,)``, ``(n, p)``, ``(n, q)``, finite.
    fold
        ``(n,)`` fold of each row.
    learner
        Of l and r; by default additive splines of C with a ridge.
    penalty
        Ridge on beta, in rows: embeddings have more columns than a small table can tell apart.

    Raises
    ------
    ContractError
        ``not_finite``; ``folds`` where there are fewer than two.
    """
    columns = {"outcome": outcome, "embedding": embedding, "confounders": confounders}
    for name, values in columns.items():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise ContractError(
                f"{bad} values of the {name} are not finite; expected none",
                code="not_finite", remedy="fill or drop these rows before deconfounding",
            )  # fmt: skip
    folds = np.unique(fold)
    if len(folds) < 2:  # noqa: PLR2004  out of fold needs two
        raise ContractError(
            f"{len(folds)} fold; expected at least two", code="folds", remedy="assign rows to folds"
        )
    means = _out_of_fold(confounders, np.column_stack([outcome, embedding]), fold, learner)
    y_left, e_left = outcome - means[:, 0], embedding - means[:, 1:]
    confounding, beta = np.empty(len(outcome)), np.empty((len(folds), embedding.shape[1]))
    for row, held in enumerate(folds):
        test = fold == held
        beta[row] = _ridge(e_left[~test], y_left[~test], penalty)
        part = means[:, 0] - means[:, 1:] @ beta[row]
        # h is known up to a constant: the one that leaves the mean of Y where it was.
        confounding[test] = part[test] - part[~test].mean()
    return Deconfounded(outcome - confounding, confounding, beta)


def _out_of_fold(
    c: Doubles, targets: Doubles, fold: NDArray[np.integer[Any]], learner: Learner | None
) -> Doubles:
    """Conditional means of the targets given C, each row's from the other folds."""
    fit = learner or spline_ridge
    means = np.empty(targets.shape)
    for held in np.unique(fold):
        test = fold == held
        means[test] = fit(c[~test], targets[~test], c[test])
    return means


def _ridge(x: Doubles, y: Doubles, penalty: float) -> Doubles:
    """Ridge whose penalty is `penalty` rows' worth of each column's own variance."""
    gram = x.T @ x
    scale = penalty * np.diag(gram) / len(y) + np.finfo(np.float64).tiny
    return np.asarray(np.linalg.solve(gram + np.diag(scale), x.T @ y), dtype=np.float64)


def spline_ridge(c: Doubles, targets: Doubles, c_test: Doubles) -> Doubles:
    """Additive cubic B-splines of each confounder (straight beyond the data), with a ridge."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import SplineTransformer

    basis = SplineTransformer(KNOTS, knots="quantile", extrapolation="linear", include_bias=False)
    fitted = make_pipeline(basis, Ridge(alpha=1.0)).fit(c, targets)
    return np.asarray(fitted.predict(c_test), dtype=np.float64)
