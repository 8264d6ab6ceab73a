"""Chosen rows of a design, a batch at a time: XGBoost bins and predicts them without a copy.

A matrix of bins that is built from batches is the one that is built from all rows at once: the
sketch of a column sees its values one by one, in the order of the rows, however they are cut.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from estimators.learners.design import Design, Doubles, Index

_BATCH_BYTES = 4 << 20
"""Of float32 values: larger ones are no faster, and each is beside the bins in memory."""


class Batches(xgb.DataIter):  # type: ignore[misc]  # xgboost carries no types
    """Rows of a design as XGBoost asks for them, several times over.

    Parameters
    ----------
    design
        Values; a batch of its rows is copied as float32, which is how trees compare.
    rows
        Row numbers, in the order to be read.
    weight
        ``(len(rows),)``; None: every row counts once.
    scratch
        Folder where XGBoost keeps the bins, a page a batch, instead of in memory.
    """

    def __init__(
        self, design: Design, rows: Index, weight: Doubles | None = None, scratch: str | None = None
    ) -> None:
        self.design = design
        self.rows = rows
        self.weight = weight
        self.left = spans(design, rows)
        prefix = None if scratch is None else os.path.join(scratch, "bins")
        super().__init__(cache_prefix=prefix, release_data=True)

    def reset(self) -> None:
        """Begin again."""
        self.left = spans(self.design, self.rows)

    def next(self, input_data: Callable[..., Any]) -> bool:
        """Hand over the next batch; False where there is none."""
        span = next(self.left, None)
        if span is None:
            return False
        input_data(
            data=batch(self.design, self.rows[span]),
            weight=None if self.weight is None else self.weight[span],
            feature_names=[f"x{j}" for j in range(len(self.design.names))],
            feature_types=self.design.feature_types,
        )
        return True


def spans(design: Design, rows: Index) -> Iterator[slice]:
    """Cut `rows` into batches."""
    size = max(1, _BATCH_BYTES // (4 * max(1, len(design.names))))
    return (slice(start, start + size) for start in range(0, len(rows), size))


def batch(design: Design, rows: Index) -> NDArray[np.float32]:
    """Values of a few rows, ``(len(rows), p)``."""
    return design.values[rows].astype(np.float32, copy=False)
