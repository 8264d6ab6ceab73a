"""Ridge regressions of every target for every penalty, from one factorisation of a Gram matrix.

The objective is ``sum w (y - a - x'b)^2 + penalty sum(w) |b|^2`` on the basis's pinned scale: the
constant is free, and k copies of the rows give the same coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.errors import UsageError
from estimators.gram.blas import Doubles, one_thread
from estimators.gram.system import Gram, without

Index = NDArray[np.intp]

PENALTIES: tuple[float, ...] = tuple(float(10.0**x) for x in np.arange(1.0, -8.25, -0.5))
"""Penalties to choose from, the strongest first."""
TIE = 1e-9
"""Losses that differ by less, relatively, are a tie: rounding must not choose the penalty."""
MILD = 1e-5
"""Penalties are weakened no further: directions almost without data would be fitted to rounding."""
RANK = 1e-12
"""Eigenvalues below this share of the largest are directions without data."""


@dataclass(frozen=True, slots=True)
class Factor:
    """Eigendecomposition of a centred Gram.

    Attributes
    ----------
    weight
        Sum of weights.
    mean
        ``(p + t - 1,)`` weighted means of the columns after the constant.
    values, vectors
        ``(p - 1,)`` eigenvalues and ``(p - 1, p - 1)`` eigenvectors, in columns.
    projected
        ``(p - 1, t)`` the targets' centred products in the eigenvectors.
    """

    weight: float
    mean: Doubles
    values: Doubles
    vectors: Doubles
    projected: Doubles


@dataclass(frozen=True, slots=True)
class Nuisances:
    """Out-of-fold nuisances of a system.

    Attributes
    ----------
    coefficients
        ``(K, p, t)``: entry k was fitted without fold k; the constant first.
    penalty
        ``(K, t)``.
    mean
        ``(K, t)`` what the training rows' mean predicts: the baseline.
    """

    coefficients: Doubles
    penalty: Doubles
    mean: Doubles


def centred(gram: Gram) -> tuple[Doubles, Doubles]:
    """Weighted means and centred products of the columns after the constant."""
    mean = gram.values[0, 1:] / gram.weight
    return mean, gram.values[1:, 1:] - gram.weight * np.outer(mean, mean)


def factor(gram: Gram) -> Factor:
    """Factorise once for all penalties and targets."""
    mean, products = centred(gram)
    d = gram.p - 1
    values, vectors = np.linalg.eigh(products[:d, :d])
    return Factor(
        gram.weight, mean, np.clip(values, 0.0, None), vectors, vectors.T @ products[:d, d:]
    )


def coefficients(factor: Factor, penalty: Doubles) -> Doubles:
    """Coefficients of every target at its own penalty.

    Parameters
    ----------
    penalty
        ``(t,)``. Without a penalty, directions without data get no coefficient.

    Returns
    -------
    ndarray
        ``(p, t)``, the constant first.
    """
    d, size = len(factor.values), len(penalty)
    slopes = factor.vectors @ (factor.projected * _inverse(factor, penalty))
    constant = factor.mean[d : d + size] - factor.mean[:d] @ slopes
    return np.vstack([constant, slopes])


def _inverse(factor: Factor, penalty: Doubles) -> Doubles:
    """``(p - 1, t)`` inverse eigenvalues under the penalties."""
    values = factor.values
    shifted = values[:, None] + penalty[None, :] * factor.weight
    some = (values > RANK * values.max(initial=0.0))[:, None] | (penalty > 0)[None, :]
    return np.divide(1.0, shifted, out=np.zeros_like(shifted), where=some & (shifted > 0))


def losses(factor: Factor, held_out: Gram, penalties: Sequence[float]) -> Doubles:
    """Sums of squared errors on held-out rows, ``(penalties, t)``, from their Gram alone."""
    p, size = held_out.p, held_out.targets
    grid = np.repeat(np.asarray(penalties), size)
    wide = Factor(
        factor.weight,
        np.concatenate([factor.mean[: p - 1], np.tile(factor.mean[p - 1 :], len(penalties))]),
        factor.values,
        factor.vectors,
        np.tile(factor.projected, len(penalties)),
    )
    fitted = coefficients(wide, grid)
    regressors, products = held_out.values[:p, :p], held_out.values[:p, p:]
    own = np.tile(np.diagonal(held_out.values)[p:], len(penalties))
    cross = np.einsum("ij,ij->j", fitted, np.tile(products, len(penalties)))
    explained = np.einsum("ij,ij->j", fitted, regressors @ fitted)
    return np.asarray((own - 2.0 * cross + explained).reshape(len(penalties), size))


def fit(folds: Sequence[Gram], penalties: Sequence[float] = PENALTIES) -> Nuisances:
    """Fit every target without each fold in turn.

    The penalty of (fold k, target) is `weakest` by the errors on each other fold j of the fit
    without k and j, so the held-out fold has no say in it.

    Parameters
    ----------
    folds
        A system's Grams by fold.
    penalties
        Strongest first. A single one is taken as it is.

    Raises
    ------
    UsageError
        ``too_few_folds``: choosing a penalty takes three folds.
    """
    k = len(folds)
    if len(penalties) > 1 and k < 3:  # noqa: PLR2004  train, choose, hold out
        raise UsageError(
            f"{k} folds leave none to choose a penalty on",
            code="too_few_folds",
            remedy="take folds.k of 3 or more, or give one penalty",
        )
    with one_thread():
        chosen = _choose(folds, penalties)
        fitted = [factor(without(folds, fold)) for fold in range(k)]
        slopes = [coefficients(each, chosen[fold]) for fold, each in enumerate(fitted)]
    mean = np.stack([each.mean[folds[0].p - 1 :] for each in fitted])
    return Nuisances(np.stack(slopes), chosen, mean)


def _choose(folds: Sequence[Gram], penalties: Sequence[float]) -> Doubles:
    """``(K, t)`` penalties chosen inside the training folds."""
    k, size = len(folds), folds[0].targets
    if len(penalties) == 1:
        return np.full((k, size), float(penalties[0]))
    loss = np.zeros((k, k, len(penalties), size))
    for a in range(k):
        for b in range(a + 1, k):
            both = factor(without(folds, a, b))
            loss[a, b] = losses(both, folds[b], penalties)
            loss[b, a] = losses(both, folds[a], penalties)
    chosen = [weakest(np.delete(loss[a], a, axis=0), penalties) for a in range(k)]
    return np.asarray(np.asarray(penalties)[np.stack(chosen)])


def weakest(loss: Doubles, penalties: Sequence[float] = PENALTIES) -> Index:
    """The weakest penalty that predicts as well as the best, within a standard error.

    The rule of one standard error (Breiman et al. 1984, section 3.4.3), towards less shrinkage: a
    penalty that predicts best shrinks both nuisances of an effect alike, and the product of what
    they lose is bias. The error is that of the difference from the best, over the parts, and at
    most that of the best's own loss; penalties are weakened until one is worse by more, and to
    `MILD` at most.

    Parameters
    ----------
    loss
        ``(parts, penalties, t)`` sums of squared errors on each part.
    penalties
        The strongest first.

    Returns
    -------
    ndarray
        ``(t,)`` positions among the penalties.
    """
    parts, count, size = loss.shape
    total, targets = loss.sum(axis=0), np.arange(size)
    best = (total <= total.min(axis=0) * (1.0 + TIE)).argmax(axis=0)
    own = loss[:, best, targets]
    worse = loss - own[:, None]
    error = np.zeros((count, size))
    if parts > 1:
        spread = np.minimum(worse.std(axis=0, ddof=1), own.std(axis=0, ddof=1))
        error = np.sqrt(parts) * spread
    least = np.abs(total[best, targets])
    good = worse.sum(axis=0) <= error + TIE * least
    good &= (np.asarray(penalties) >= MILD)[:, None]
    good |= np.arange(count)[:, None] <= best
    return np.asarray(np.logical_and.accumulate(good).sum(axis=0) - 1)
