"""Tweedie's correction: push a prediction out against the density of predictions.

With ``Y = Yhat + eps``, ``eps ~ N(0, s^2)``, corrected is ``Yhat - s^2 d/dy log p(Yhat)``, p the
density of the *calibration* predictions: E[corrected | Y] = Y whatever p is. Fitted on the rows
that are averaged, or per arm, the score has mean zero and the naive mean comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from estimators.debias.calibration import Calibration
from estimators.debias.correction import BLOCK, as_rows, in_blocks
from estimators.debias.density import Kernel, exact_score, grid_score, log_density, scott

Doubles = NDArray[np.float64]
Density = Literal["preserving", "scott"]

NODES = 2_048
"""Grid nodes, at least; more where one row far out would make cells wide for the bandwidth."""

MOST_NODES = 32_768
NODES_PER_BANDWIDTH = 40.0
MARGIN = 4.0
"""Bandwidths by which plain Scott's grid exceeds the calibrated range."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A uniform grid: nodes ``low + step * (0..cells)``."""

    low: float
    step: float
    cells: int


@dataclass(frozen=True, slots=True)
class TweedieCorrection:
    """The correction as a line in each cell of a uniform grid.

    Attributes
    ----------
    intercept, slope
        ``(cells + 2,)``: corrected is ``intercept[j] + slope[j] Yhat`` in cell j; the first and
        the last continue beyond the grid.
    grid
        Where the cells lie.
    sigma
        s, the standard deviation of Yhat - Y on calibration rows.
    kernel
        The density, for the exact mode and for pictures.
    density
        ``preserving`` (default) or ``scott`` (plain).
    n
        Calibration rows.
    low, high
        The calibrated range.
    """

    intercept: Doubles
    slope: Doubles
    grid: Grid
    sigma: float
    kernel: Kernel
    density: Density
    n: int
    low: float
    high: float
    name: str = "tweedie"

    def apply(self, prediction: ArrayLike, out: Doubles | None = None) -> Doubles:
        """Corrected predictions, ``(n,)``: nine passes over a block in cache, no search."""
        rows, room = as_rows(prediction, out)
        size = min(len(rows), BLOCK)
        position, cell = np.empty(size), np.empty(size, dtype=np.intp)

        def unshrink(block: Doubles, result: Doubles) -> None:
            at, j = position[: len(block)], cell[: len(block)]
            _locate(block, self.grid, at, j)
            # mode="clip" lets take write into `out` without a buffer.
            np.take(self.slope, j, out=result, mode="clip")
            np.multiply(result, block, out=result)
            np.take(self.intercept, j, out=at, mode="clip")
            np.add(result, at, out=result)

        return in_blocks(rows, room, unshrink)

    def apply_exactly(self, prediction: ArrayLike, delta: float | None = None) -> Doubles:
        """Corrected with the exact density at every row: n times the calibration rows of work.

        Parameters
        ----------
        delta
            Take the score as a central difference of log p, as `unshrink` does (its delta is a
            thousandth of the predictions' standard deviation), in place of the derivative.
        """
        rows = np.asarray(prediction, dtype=np.float64)
        if delta is None:
            return rows - self.sigma**2 * exact_score(rows, self.kernel)
        rise = log_density(rows + delta, self.kernel) - log_density(rows - delta, self.kernel)
        return np.asarray(rows - self.sigma**2 * rise / (2.0 * delta), dtype=np.float64)


def _locate(block: Doubles, grid: Grid, position: Doubles, cell: NDArray[np.intp]) -> None:
    """Cell of each row: 0 below the grid, 1..cells within, cells + 1 above. NaN falls in 0."""
    np.subtract(block, grid.low, out=position)
    np.multiply(position, 1.0 / grid.step, out=position)
    np.add(position, 1.0, out=position)
    np.fmax(position, 0.0, out=position)
    np.fmin(position, grid.cells + 1.0, out=position)
    np.copyto(cell, position, casting="unsafe")


def fit_tweedie(
    calibration: Calibration,
    *,
    density: Density = "preserving",
    weight: Doubles | None = None,
    grid: Grid | None = None,
) -> TweedieCorrection:
    """Fit Tweedie's correction on calibration rows.

    Parameters
    ----------
    density
        ``preserving`` keeps the predictions' variance; ``scott`` is the plain kernel density of
        `unshrink`, which widens p and so corrects too little.
    weight
        ``(n,)`` replaces the rows' own weights (a calibration draw).
    grid
        Cells to use (a draw uses its parent's, so that their sums over rows are shared).
    """
    f = calibration.prediction
    w = calibration.weight if weight is None else weight
    share = w / w.sum()
    gap = f - calibration.truth
    sigma = float(np.sqrt(share @ (gap - share @ gap) ** 2))
    kernel = scott(f, share, preserve=density == "preserving")
    low, high = float(f.min()), float(f.max())
    margin = MARGIN * kernel.bandwidth if density == "scott" else 0.0
    cells = grid or make_grid(low - margin, high + margin, kernel.bandwidth)
    nodes = cells.low + cells.step * np.arange(cells.cells + 1, dtype=np.float64)
    corrected = nodes - sigma**2 * grid_score(cells.low, cells.step, cells.cells + 1, kernel)
    variance = float(share @ (f - share @ f) ** 2)
    outer = 1.0 + sigma**2 / variance if density == "preserving" else None
    intercept, slope = _lines(nodes, corrected, outer)
    return TweedieCorrection(
        intercept, slope, cells, sigma, kernel, density, calibration.n, low, high
    )


def make_grid(low: float, high: float, bandwidth: float) -> Grid:
    """A grid over [low, high], fine enough for the bandwidth."""
    wanted = np.ceil((high - low) / bandwidth * NODES_PER_BANDWIDTH)
    cells = int(np.clip(wanted, NODES - 1, MOST_NODES - 1))
    return Grid(low, (high - low) / cells, cells)


def _lines(nodes: Doubles, corrected: Doubles, outer: float | None) -> tuple[Doubles, Doubles]:
    """Lines of the cells; beyond the grid with slope `outer`, or on along the last cell."""
    inner = np.diff(corrected) / np.diff(nodes)
    ends = (inner[0], inner[-1]) if outer is None else (outer, outer)
    slope = np.concatenate([[ends[0]], inner, [ends[1]]])
    anchor = np.concatenate([[0], np.arange(len(inner)), [len(nodes) - 1]])
    return corrected[anchor] - slope * nodes[anchor], slope


def cell_sums(grid: Grid, prediction: ArrayLike, weight: ArrayLike) -> Doubles:
    """Sums of `weight` and of ``weight * prediction`` by cell, ``(2, cells + 2)``; they add up.

    Whatever is linear in the corrected outcome with nuisances held, such as psi_b with
    ``weight = D/m - (1-D)/(1-m)``, follows from these sums for every correction on the grid.
    """
    rows = np.asarray(prediction, dtype=np.float64)
    signed = np.asarray(weight, dtype=np.float64)
    size = grid.cells + 2
    totals = np.zeros((2, size))
    position, cell = np.empty(BLOCK), np.empty(BLOCK, dtype=np.intp)
    for start in range(0, len(rows), BLOCK):
        block, factor = rows[start : start + BLOCK], signed[start : start + BLOCK]
        at, j = position[: len(block)], cell[: len(block)]
        _locate(block, grid, at, j)
        totals[0] += np.bincount(j, factor, size)
        totals[1] += np.bincount(j, factor * block, size)
    return totals


def weighted_sum(correction: TweedieCorrection, sums: Doubles) -> float:
    """``sum(weight * corrected)`` from `cell_sums` on the correction's grid."""
    return float(correction.intercept @ sums[0] + correction.slope @ sums[1])
