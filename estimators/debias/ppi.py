"""Prediction-powered inference for means and average effects, as functions of sums.

theta = lam mean(f~) + mean(Y - lam f) over unlabelled f~ and labelled (Y, f); lam = 1 is PPI,
the variance-minimising lam is PPI++. The labelled rows must be a random sample of the rows whose
mean is wanted (within the arm, or with weights that make them one).

Sources: Angelopoulos et al. 2023, *Prediction-powered inference*; Angelopoulos, Duchi and Zrnic
2023, *PPI++: Efficient prediction-powered inference*, arXiv 2311.01453.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from estimators.errors import NotEstimableError

Doubles = NDArray[np.float64]

BLOCK = 8_192
"""Rows of a block: short enough that BLAS keeps to one thread, so that sums have fixed bytes."""


@dataclass(frozen=True, slots=True)
class Sums:
    """First and second moments of some rows; they add up over batches and workers.

    With columns ``z = (1, v_1 - origin_1, .., v_p - origin_p)`` and weights w:

    Attributes
    ----------
    n
        Rows.
    origin
        ``(p,)`` near the rows, so that a large mean costs the variance no digits.
    first
        ``(p + 1,)`` sums of w z; ``first[0]`` is the sum of weights.
    second
        ``(p + 1, p + 1)`` sums of w^2 z z'.
    """

    n: int
    origin: Doubles
    first: Doubles
    second: Doubles

    def __add__(self, other: Sums) -> Sums:
        moved = np.eye(len(self.first))
        moved[1:, 0] = other.origin - self.origin
        first = self.first + moved @ other.first
        return Sums(
            self.n + other.n, self.origin, first, self.second + moved @ other.second @ moved.T
        )

    @property
    def means(self) -> Doubles:
        """Weighted means of the columns, ``(p,)``."""
        return self.origin + self._shift

    @property
    def _shift(self) -> Doubles:
        return np.asarray(self.first[1:] / self.first[0], dtype=np.float64)

    def covariance(self) -> Doubles:
        """Covariance (ddof 0) of ``w (v - mean) n / sum w``, ``(p, p)``: plain where w = 1."""
        shift = self._shift
        centre = np.concatenate([-shift[:, None], np.eye(len(shift))], axis=1)
        spread = centre @ self.second @ centre.T
        return np.asarray(spread * self.n / self.first[0] ** 2, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Powered:
    """A prediction-powered estimate.

    Attributes
    ----------
    theta, se
        Estimate and standard error (ddof 0).
    lam
        Weight of the predictions: 0 uses labels alone, 1 is plain PPI.
    n_labelled, n_unlabelled
        Rows.
    """

    theta: float
    se: float
    lam: float
    n_labelled: int
    n_unlabelled: int


def sums(*columns: ArrayLike, weight: ArrayLike | None = None) -> Sums:
    """Sum one or more columns, ``(n,)`` each, in one pass over memory."""
    rows = [np.asarray(column, dtype=np.float64) for column in columns]
    w = None if weight is None else np.asarray(weight, dtype=np.float64)
    n, width = len(rows[0]), len(rows) + 1
    origin = np.array([column[0] if n else 0.0 for column in rows])
    first, second = np.zeros(width), np.zeros((width, width))
    for start in range(0, n, BLOCK):
        stop = start + BLOCK
        part = [column[start:stop] - near for column, near in zip(rows, origin, strict=True)]
        if w is None:
            _add_plain(part, first, second)
        else:
            _add_weighted(part, w[start:stop], first, second)
    upper = np.triu_indices(width, 1)
    second.T[upper] = second[upper]
    return Sums(n, origin, first, second)


def _add_plain(part: Sequence[Doubles], first: Doubles, second: Doubles) -> None:
    first[0] += len(part[0])
    second[0, 0] += len(part[0])
    for i, left in enumerate(part, 1):
        total = left.sum()
        first[i] += total
        second[0, i] += total
        for j, right in enumerate(part[i - 1 :], i):
            second[i, j] += left @ right


def _add_weighted(part: Sequence[Doubles], w: Doubles, first: Doubles, second: Doubles) -> None:
    scaled = [w, *(w * column for column in part)]
    for i, left in enumerate(scaled):
        first[i] += left.sum()
        for j, right in enumerate(scaled[i:], i):
            second[i, j] += left @ right


def best_lam(labelled: Sums, unlabelled: Sums) -> float:
    """PPI++'s weight ``Cov(Y, f) / ((1 + n/N) Var(f))``, clipped to [0, 1].

    Var(f) is over labelled and unlabelled rows pooled (ddof 1), Cov(Y, f) over labelled (ddof 0),
    as in `ppi_py`. With weights both are of the linearised values ``w (v - weighted mean)``;
    `ppi_py` centres at theta instead, which adds a term that is no variance.
    """
    n, m = labelled.n, unlabelled.n
    inside = labelled.covariance()
    apart = float(labelled.means[1] - unlabelled.means[0])
    squares = (
        n * float(inside[1, 1]) + m * float(unlabelled.covariance()[0, 0])
        + n * m / (n + m) * apart**2
    )  # fmt: skip
    variance = squares / (n + m - 1)
    if variance <= 0.0:
        return 0.0
    return float(np.clip(inside[0, 1] / ((1.0 + n / m) * variance), 0.0, 1.0))


def ppi_mean(labelled: Sums, unlabelled: Sums, lam: float | None = None) -> Powered:
    """Mean of Y from ``labelled = sums(Y, f)`` and ``unlabelled = sums(f~)``.

    Parameters
    ----------
    lam
        1 for PPI, 0 for labels alone, None for PPI++.

    Raises
    ------
    NotEstimableError
        ``no_labelled_rows``: fewer than two labelled or unlabelled rows.
    """
    if min(labelled.n, unlabelled.n) < 2:  # noqa: PLR2004  a variance needs two
        raise NotEstimableError(
            f"{labelled.n} labelled and {unlabelled.n} unlabelled rows; expected two of each",
            code="no_labelled_rows",
            remedy="label rows of every arm, or choose a correction that needs none (lcc, tweedie)",
        )
    weight = best_lam(labelled, unlabelled) if lam is None else lam
    mean_y, mean_f = labelled.means
    theta = weight * float(unlabelled.means[0]) + float(mean_y) - weight * float(mean_f)
    contrast = np.array([1.0, -weight])
    # Of an exact prediction nothing is left but rounding, which may be negative.
    rectifier = max(float(contrast @ labelled.covariance() @ contrast), 0.0) / labelled.n
    imputed = weight**2 * max(float(unlabelled.covariance()[0, 0]), 0.0) / unlabelled.n
    return Powered(theta, float(np.sqrt(rectifier + imputed)), weight, labelled.n, unlabelled.n)


def ppi_ate_by_arm(
    treated: tuple[Sums, Sums], control: tuple[Sums, Sums], lam: float | None = None
) -> Powered:
    """Average effect as the difference of two arms' means, each with its own lam.

    Parameters
    ----------
    treated, control
        ``(labelled, unlabelled)`` of the arm, as for `ppi_mean`, weighted by 1/m and 1/(1-m).
        The weights are taken as known and normalised within the arm.
    """
    one, zero = ppi_mean(*treated, lam), ppi_mean(*control, lam)
    return Powered(
        one.theta - zero.theta, float(np.hypot(one.se, zero.se)), 0.5 * (one.lam + zero.lam),
        one.n_labelled + zero.n_labelled, one.n_unlabelled + zero.n_unlabelled,
    )  # fmt: skip


def ppi_ate(
    score: Callable[[Doubles, NDArray[np.bool_]], Doubles],
    truth: Doubles, prediction: Doubles, labelled: NDArray[np.bool_], lam: float | None = None,
) -> Powered:  # fmt: skip
    """Average effect on AIPW pseudo-outcomes: PPI's mean of ``Gamma(Y)`` by ``Gamma(Yhat)``.

    Parameters
    ----------
    score
        ``score(outcome, rows)``: psi_b of `rows` for an outcome, with the nuisances held
        (any function of the outcome that is the same for Y and Yhat).
    truth, prediction
        ``(n,)``; truth is read where `labelled` alone.
    labelled
        ``(n,)`` bool: a random sample of the rows.
    """
    gamma_y = score(truth[labelled], labelled)
    gamma_f = score(prediction[labelled], labelled)
    others = score(prediction[~labelled], ~labelled)
    return ppi_mean(sums(gamma_y, gamma_f), sums(others), lam)
