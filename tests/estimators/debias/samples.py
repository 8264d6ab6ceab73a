"""Rows whose truth is known, for the tests of the corrections."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from estimators.debias.calibration import Calibration, calibration_rows

Doubles = NDArray[np.float64]


def channel(y: Doubles, generator: np.random.Generator, k: float = 0.6, v: float = 4.0) -> Doubles:
    """``Yhat = k Y + N(0, k (1-k) v)``: calibrated for outcomes N(0, v), so LCC is exact."""
    return k * y + np.sqrt(k * (1.0 - k) * v) * generator.standard_normal(len(y))


def calibration(
    n: int, generator: np.random.Generator, k: float = 0.6, v: float = 4.0
) -> Calibration:
    """Calibration rows of the channel, outcomes N(0, v)."""
    y = np.sqrt(v) * generator.standard_normal(n)
    return calibration_rows(channel(y, generator, k, v), y)
