"""What every fitted correction is: a function of the prediction alone, for any number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]

BLOCK = 16_384
"""Rows of a block: with its buffers it stays within a core's second-level cache."""

OUTSIDE_SHARE = 0.05
"""Largest share of predictions outside the calibrated range that passes the check."""


class Correction(Protocol):
    """A correction fitted on calibration rows.

    Attributes
    ----------
    name
        ``none``, ``lcc`` or ``tweedie``: the suffix of the effect's method.
    low, high
        The calibrated range: smallest and largest calibration prediction.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def low(self) -> float: ...  # noqa: D102

    @property
    def high(self) -> float: ...  # noqa: D102

    def apply(self, prediction: ArrayLike, out: Doubles | None = None) -> Doubles:
        """Corrected predictions, ``(n,)``; NaN stays NaN. Equal bytes however rows are batched."""
        ...


def apply_batches(correction: Correction, batches: Iterable[ArrayLike]) -> Iterator[Doubles]:
    """Correct batch after batch: numpy arrays, Arrow arrays, or the chunks of an Arrow column."""
    for batch in batches:
        yield correction.apply(batch)


def as_rows(prediction: ArrayLike, out: Doubles | None) -> tuple[Doubles, Doubles]:
    """Read rows as float64 without a copy where they are, and find room for the result.

    Raises
    ------
    ValueError
        `out` has another length or type.
    """
    rows = np.asarray(prediction, dtype=np.float64)
    if rows.ndim != 1:
        raise ValueError(f"expected one column of predictions, found shape {rows.shape}")
    room = np.empty(len(rows)) if out is None else out
    if room.shape != rows.shape or room.dtype != np.float64:
        raise ValueError(f"`out` is {room.dtype} {room.shape}, expected float64 {rows.shape}")
    return rows, room


def in_blocks(rows: Doubles, room: Doubles, each: Callable[[Doubles, Doubles], None]) -> Doubles:
    """Apply `each(block, room)` to blocks that fit the cache: memory is read and written once."""
    for start in range(0, len(rows), BLOCK):
        each(rows[start : start + BLOCK], room[start : start + BLOCK])
    return room


def count_outside(correction: Correction, prediction: ArrayLike) -> int:
    """Count predictions outside the calibrated range; counts add up over batches. NaN is not one.

    The check ``outside_calibrated_range`` fails where the count's share exceeds `OUTSIDE_SHARE`:
    there the correction continues as a straight line that no calibration row supports.
    """
    rows = np.asarray(prediction, dtype=np.float64)
    below, above = rows < correction.low, rows > correction.high
    return int(np.count_nonzero(below) + np.count_nonzero(above))
