"""Ridge and logistic regression on an encoding of the covariates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge

from estimators.blas import one_blas_thread
from estimators.catalog import Kind
from estimators.effects import Spec
from estimators.learners.design import Design, Doubles, Index

Encode = Callable[[NDArray[np.floating[Any]]], Doubles]


class LinearFold:
    """Ridge or logistic regression on standardised numbers and one-hot categories."""

    def __init__(self, design: Design, train: Index, test: Index, weight: Doubles) -> None:
        self.weight = weight
        encode = encoder(design, train, weight)
        self.train, self.test = encode(design.values[train]), encode(design.values[test])

    def predict(self, y: Doubles, kind: Kind, spec: Spec, seed: int) -> Doubles:
        """Fit `y` and predict the held-out rows."""
        penalty = float(spec["penalty"])
        return regress(self.train, self.test, y, self.weight, kind=kind, penalty=penalty)


def regress(
    train: Doubles, test: Doubles, y: Doubles, weight: Doubles, *, kind: Kind, penalty: float
) -> Doubles:
    """Fit by ridge, or by logistic regression for a binary target, and predict.

    Parameters
    ----------
    train, test
        ``(n, p)`` and ``(m, p)`` encoded rows; the constant is not among the columns.
    penalty
        Of ``sum w (y - a - x'b)^2 + penalty |b|^2``, or of ``loss + penalty |b|^2 / 2``.
    """
    if kind == "binary":
        if y.min() == y.max():
            return np.full(len(test), y[0])
        strength = 1.0 / max(penalty, 1e-10)
        # Newton's last step is cheap, and one more or less must not show on another machine.
        model = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-9, max_iter=200)
        with one_blas_thread():
            model.fit(train, y, sample_weight=weight)
            return np.asarray(model.predict_proba(test)[:, 1], dtype=np.float64)
    ridge = Ridge(alpha=penalty, solver="cholesky")
    with one_blas_thread():
        ridge.fit(train, y, sample_weight=weight)
        return np.asarray(ridge.predict(test), dtype=np.float64)


def encoder(design: Design, train: Index, weight: Doubles) -> Encode:
    """Encoding learnt on the training rows: mean-filled numbers with a missing flag, one-hots.

    Means and spreads are weighted, so that a row of weight k encodes as k copies of it do.
    """
    values = design.values[train].astype(np.float64)
    numbers = design.numbers
    observed = ~np.isnan(values[:, numbers])
    mass = np.where(observed, weight[:, None], 0.0)
    total = np.maximum(mass.sum(axis=0), np.finfo(np.float64).tiny)
    filled = np.where(observed, values[:, numbers], 0.0)
    mean = (mass * filled).sum(axis=0) / total
    spread = np.sqrt((mass * np.where(observed, filled - mean, 0.0) ** 2).sum(axis=0) / total)
    scale = np.where(spread > 0, spread, 1.0)
    flagged = np.flatnonzero(~observed.all(axis=0))

    def encode(rows: NDArray[np.floating[Any]]) -> Doubles:
        number = rows[:, numbers].astype(np.float64)
        missing = np.isnan(number)
        parts = [np.where(missing, 0.0, (number - mean) / scale), missing[:, flagged]]
        parts += [
            rows[:, [j]] == np.arange(len(labels))[None, :]
            for j, labels in design.categories.items()
        ]
        return np.concatenate([part.astype(np.float64) for part in parts], axis=1)

    return encode
