"""Sums whose bytes depend on the order of the rows alone, never on threads or blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sum_by(
    index: NDArray[np.integer[Any]], values: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """Sum `values` by `index`, one row after the other; ``(size,)`` float64."""
    return np.asarray(np.bincount(index, weights=values, minlength=size), dtype=np.float64)
