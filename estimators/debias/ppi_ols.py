"""Prediction-powered least squares (PPI and PPI++), after Angelopoulos, Duchi and Zrnic 2023."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.errors import NotEstimableError

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PoweredOls:
    """Prediction-powered coefficients.

    Attributes
    ----------
    theta, se
        ``(d,)`` coefficients and standard errors.
    covariance
        ``(d, d)`` of theta.
    lam
        Weight of the predictions.
    """

    theta: Doubles
    se: Doubles
    covariance: Doubles
    lam: float


@dataclass(frozen=True, slots=True)
class Rows:
    """Regressors ``(n, d)``, targets by name ``(n,)``, weights with mean one ``(n,)``."""

    x: Doubles
    target: Doubles
    prediction: Doubles
    weight: Doubles


def ppi_ols(
    x: Doubles, truth: Doubles, prediction: Doubles,
    x_unlabelled: Doubles, prediction_unlabelled: Doubles,
    *, lam: float | None = None, coordinate: int | None = None,
    weight: Doubles | None = None, weight_unlabelled: Doubles | None = None,
) -> PoweredOls:  # fmt: skip
    """Least squares of truth on `x`, with predictions for the unlabelled rows.

    Parameters
    ----------
    x, truth, prediction
        Labelled rows, ``(n, d)``, ``(n,)``, ``(n,)``; `x` holds its own constant.
    lam
        1 for PPI, None for PPI++ (least total variance, or that of `coordinate`).

    Notes
    -----
    As `ppi_py`: lam is tuned once, at PPI's estimate; its Hessian pools both samples (labelled
    alone for lam = 0). For PPI++'s interval `ppi_py` tunes lam a second time, at the tuned
    estimate; we keep one lam for estimate and error.

    Raises
    ------
    NotEstimableError
        ``collinear`` where the regressors have no full rank.
    """
    labelled = Rows(x, truth, prediction, _mean_one(len(x), weight))
    other = Rows(
        x_unlabelled, prediction_unlabelled, prediction_unlabelled,
        _mean_one(len(x_unlabelled), weight_unlabelled),
    )  # fmt: skip
    if lam is None:
        start = _coefficients(labelled, other, 1.0)
        lam = _best_lam(labelled, other, start, coordinate)
    theta = _coefficients(labelled, other, lam)
    bread = _bread(labelled, other, pooled=lam != 0.0)
    truth_gradient, prediction_gradient, other_gradient = _gradients(labelled, other, theta)
    n, m = len(x), len(x_unlabelled)
    meat = np.cov((truth_gradient - lam * prediction_gradient).T).reshape(bread.shape)
    meat = meat + n / m * lam**2 * np.cov(other_gradient.T).reshape(bread.shape)
    covariance = bread @ meat @ bread / n
    return PoweredOls(theta, np.sqrt(np.diag(covariance)), covariance, lam)


def _mean_one(n: int, weight: Doubles | None) -> Doubles:
    return np.ones(n) if weight is None else weight / weight.sum() * n


def _solve(rows: Rows, target: Doubles) -> Doubles:
    root = np.sqrt(rows.weight)
    coefficients, _, rank, _ = np.linalg.lstsq(rows.x * root[:, None], target * root)
    if rank < rows.x.shape[1]:
        raise NotEstimableError(
            f"the regressors have rank {rank}, expected {rows.x.shape[1]}",
            code="collinear",
            remedy="drop a regressor that the others determine",
        )
    return np.asarray(coefficients, dtype=np.float64)


def _coefficients(labelled: Rows, other: Rows, lam: float) -> Doubles:
    rectifier = _solve(labelled, labelled.target - lam * labelled.prediction)
    return _solve(other, lam * other.prediction) + rectifier


def _bread(labelled: Rows, other: Rows, *, pooled: bool) -> Doubles:
    hessian, n = labelled.x.T @ (labelled.x * labelled.weight[:, None]), len(labelled.x)
    if pooled:
        hessian = hessian + other.x.T @ (other.x * other.weight[:, None])
        n += len(other.x)
    return np.asarray(np.linalg.inv(hessian / n), dtype=np.float64)


def _gradients(labelled: Rows, other: Rows, theta: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Gradients of the squared loss: labelled by truth, by prediction; unlabelled."""

    def gradient(rows: Rows, target: Doubles) -> Doubles:
        return rows.x * (rows.weight * (rows.x @ theta - target))[:, None]

    return (
        gradient(labelled, labelled.target),
        gradient(labelled, labelled.prediction),
        gradient(other, other.prediction),
    )


def _best_lam(labelled: Rows, other: Rows, theta: Doubles, coordinate: int | None) -> float:
    bread = _bread(labelled, other, pooled=True)
    truth, prediction, rest = _gradients(labelled, other, theta)
    n, m = len(truth), len(rest)
    crossed = (truth - truth.mean(axis=0)).T @ (prediction - prediction.mean(axis=0)) / n
    spread = np.cov(np.concatenate([prediction, rest]).T).reshape(bread.shape)
    side = bread if coordinate is None else bread[[coordinate]]
    top = float(np.trace(side @ crossed @ side.T))
    bottom = (1.0 + n / m) * float(np.trace(side @ spread @ side.T))
    return float(np.clip(top / bottom, 0.0, 1.0)) if bottom > 0.0 else 0.0
