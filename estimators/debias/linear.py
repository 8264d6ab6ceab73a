"""Linear calibration correction (LCC): undo the line that shrinks predictions.

On calibration rows ``Yhat = m + k Y + e`` by least squares, prediction on truth; corrected is
``(Yhat - m) / k``. Right where P(Yhat | Y) is the same in every group and its mean linear in Y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from estimators.debias.calibration import Calibration
from estimators.debias.correction import as_rows, in_blocks
from estimators.errors import ContractError, Where
from estimators.sums import sum_by

Doubles = NDArray[np.float64]

SMALLEST_SLOPE = 1e-8
WEAK_SLOPE = 0.2
WEAK_RATIO = 5.0
"""Below this many standard errors of k, 1/k is too curved for the delta method."""


@dataclass(frozen=True, slots=True)
class LinearCorrection:
    """The fitted line and what its own uncertainty needs.

    Attributes
    ----------
    intercept, slope
        m and k of ``Yhat = m + k Y + e``.
    covariance
        ``(2, 2)`` of (m, k), heteroskedasticity-robust (HC0), clustered where rows are.
    influence
        ``(G, 2)`` sums over calibration rows (or clusters) of their share of (m, k) errors:
        ``covariance = influence' influence``.
    n
        Calibration rows.
    low, high
        The calibrated range.
    """

    intercept: float
    slope: float
    covariance: Doubles
    influence: Doubles
    n: int
    low: float
    high: float
    name: str = "lcc"

    @property
    def slope_se(self) -> float:
        """Standard error of k."""
        return float(np.sqrt(self.covariance[1, 1]))

    @property
    def weak(self) -> bool:
        """A failed check: k below 0.2, or less than five standard errors from zero."""
        return self.slope < WEAK_SLOPE or self.slope < WEAK_RATIO * self.slope_se

    def apply(self, prediction: ArrayLike, out: Doubles | None = None) -> Doubles:
        """Corrected predictions ``(Yhat - m) / k``, ``(n,)``."""
        rows, room = as_rows(prediction, out)
        # A product keeps up with memory, a quotient does not.
        gain = 1.0 / self.slope

        def unshrink(block: Doubles, result: Doubles) -> None:
            np.subtract(block, self.intercept, out=result)
            np.multiply(result, gain, out=result)

        return in_blocks(rows, room, unshrink)


def fit_linear(
    calibration: Calibration, *, weight: Doubles | None = None, where: Where | None = None
) -> LinearCorrection:
    """Fit LCC; `weight` ``(n,)`` replaces the rows' own (a calibration draw).

    Raises
    ------
    ContractError
        ``weak_calibration`` where k <= 1e-8: the prediction does not rise with the truth.
    """
    f, y = calibration.prediction, calibration.truth
    w = calibration.weight if weight is None else weight
    share = w / w.sum()
    f_mean, y_mean = float(share @ f), float(share @ y)
    centred = y - y_mean
    y_var = float(share @ (centred * centred))
    k = float(share @ (centred * (f - f_mean))) / y_var
    if not k > SMALLEST_SLOPE:
        raise ContractError(
            f"the slope of prediction on truth is {k:.3g} on {calibration.n} calibration rows; "
            f"expected above {WEAK_SLOPE:g}",
            code="weak_calibration", where=where,
            remedy="the prediction does not follow the truth: use labelled rows (`correct: ppi`)",
        )  # fmt: skip
    m = f_mean - k * y_mean
    error = share * (f - m - k * y)
    k_part = error * centred / y_var
    parts = np.stack([error - y_mean * k_part, k_part], axis=1)
    index = calibration.clusters()
    size = int(index.max()) + 1
    influence = np.stack([sum_by(index, parts[:, j], size) for j in range(2)], axis=1)
    return LinearCorrection(
        m, k, influence.T @ influence, influence, calibration.n, float(f.min()), float(f.max())
    )
