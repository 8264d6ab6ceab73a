"""Labels that XGBoost can tell apart: it has float32, and a gain below 1e-6 is none to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xgboost as xgb

from estimators.learners.design import Doubles

PLAIN = (2.0**-6, 2.0**16)
"""Spreads (standard deviations) at which a label is taken as it is."""
FAR = 2.0**8
"""Spreads that a mean may be away from zero before it is taken off."""


@dataclass(frozen=True, slots=True)
class Labels:
    """A shift and a unit, such that ``(y - shift) / unit`` has a spread that float32 can hold.

    Most labels are taken as they are (shift 0, unit 1). The unit is a power of two: dividing by
    it rounds nothing.
    """

    shift: float = 0.0
    unit: float = 1.0

    def of(self, y: Doubles) -> Doubles:
        """What XGBoost is given."""
        return y if self == AS_THEY_ARE else (y - self.shift) / self.unit

    def back(self, predicted: Doubles) -> Doubles:
        """Predictions of it as those of `y`."""
        return predicted if self == AS_THEY_ARE else self.shift + self.unit * predicted


AS_THEY_ARE = Labels()


def labels(y: Doubles, weight: Doubles | None, *, rescale: bool = True) -> Labels:
    """How to give labels to XGBoost; of the rows of all workers where several train together.

    Parameters
    ----------
    y
        ``(n,)`` labels of the training rows.
    weight
        ``(n,)``; left out, all alike.
    rescale
        Whether the unit may change: penalties in the unit of the labels forbid it.
    """
    mean = weighted_mean(y, weight)
    largest = float(np.abs(y - mean).max(initial=0.0))
    if xgb.collective.is_distributed():
        largest = float(xgb.collective.allreduce(np.array([largest]), xgb.collective.Op.MAX)[0])
    if not 0.0 < largest < np.inf:
        return AS_THEY_ARE
    spread = largest * float(np.sqrt(weighted_mean(((y - mean) / largest) ** 2, weight)))
    shift = mean if abs(mean) > FAR * spread else 0.0
    plain = PLAIN[0] <= spread <= PLAIN[1] or not rescale
    return Labels(shift, 1.0 if plain else float(2.0 ** np.floor(np.log2(spread))))


def weighted_mean(y: Doubles, weight: Doubles | None) -> float:
    """The weighted mean; of the rows of all workers where several train together."""
    if not xgb.collective.is_distributed():
        return float(y.mean() if weight is None else np.average(y, weights=weight))
    w = np.ones(len(y)) if weight is None else weight
    sums = xgb.collective.allreduce(np.array([(w * y).sum(), w.sum()]), xgb.collective.Op.SUM)
    return float(sums[0] / sums[1])
