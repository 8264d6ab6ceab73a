"""The score d/dy log p of a Gaussian kernel density: exact, and on a uniform grid by binning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

Doubles = NDArray[np.float64]

REACH = 9.0
"""Bandwidths beyond which a kernel's tail (3e-18 of its peak) is left out on the grid."""

SPARSE = 1e-9
"""Nodes with less than this of the highest density are computed one by one: there, what a Fourier
transform rounds off (1e-16 of the highest) and the tails left out would count."""

NEARBY = 192
"""Occupied cells on each side of a sparse node; they span what counts (1e-7)."""

ROUNDING = 1e-6
"""Cells by which a point at the grid's end may seem to lie beyond it."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A Gaussian kernel density.

    Attributes
    ----------
    points, share
        ``(n,)`` centres and their weights, which sum to one.
    bandwidth
        Standard deviation of the kernel, in the points' unit.
    """

    points: Doubles
    share: Doubles
    bandwidth: float


def scott(points: Doubles, share: Doubles, *, preserve: bool) -> Kernel:
    """Kernel density with Scott's bandwidth ``n_eff^(-1/5) sd``.

    Plain Scott adds the kernel's variance to the points'. With `preserve`, points are drawn in
    about their mean and the kernel narrowed, both by ``sqrt(1 + h^2)``: the density keeps the
    points' mean and variance (Jones 1991, *On correcting for variance inflation in kernel density
    estimation*).
    """
    effective = 1.0 / float(share @ share)
    mean = float(share @ points)
    # ddof 1, as in scipy's gaussian_kde and so in `unshrink`.
    sd = float(np.sqrt(share @ (points - mean) ** 2 / (1.0 - share @ share)))
    h = effective ** (-0.2)
    if not preserve:
        return Kernel(points, share, h * sd)
    shrink = float(np.sqrt(1.0 + h * h))
    return Kernel(mean + (points - mean) / shrink, share, h * sd / shrink)


def exact_score(values: Doubles, kernel: Kernel) -> Doubles:
    """Score at `values`, ``(m,)``; m times n kernels, stable however far out a value lies."""
    score = np.empty(len(values))
    block = max(1, 2_000_000 // len(kernel.points))
    for start in range(0, len(values), block):
        part = values[start : start + block]
        z = (kernel.points[None, :] - part[:, None]) / kernel.bandwidth
        exponent = -0.5 * z * z
        weight = np.exp(exponent - exponent.max(axis=1, keepdims=True)) * kernel.share
        total = weight.sum(axis=1)
        score[start : start + block] = (weight * z).sum(axis=1) / (total * kernel.bandwidth)
    return score


def log_density(values: Doubles, kernel: Kernel) -> Doubles:
    """Logarithm of the density at `values`, ``(m,)``; exact, for pictures and for parity."""
    density = np.empty(len(values))
    constant = np.log(kernel.bandwidth * np.sqrt(2.0 * np.pi))
    block = max(1, 2_000_000 // len(kernel.points))
    for start in range(0, len(values), block):
        part = values[start : start + block]
        exponent = -0.5 * ((kernel.points[None, :] - part[:, None]) / kernel.bandwidth) ** 2
        top = exponent.max(axis=1)
        total = np.exp(exponent - top[:, None]) @ kernel.share
        density[start : start + block] = top + np.log(total) - constant
    return density


def grid_score(low: float, step: float, count: int, kernel: Kernel) -> Doubles:
    """Score at the grid ``low + step * (0..count-1)``: linear binning, then a convolution.

    Costs n + count log(count), not n * count. Binning widens the kernel by at most ``step^2 / 4``
    in variance. Nodes in gaps and tails are computed from the points nearest to them.

    Raises
    ------
    ValueError
        A point lies outside the grid.
    """
    position = (kernel.points - low) / step
    left = np.clip(np.floor(position).astype(np.int64), 0, count - 2)
    upper = position - left
    if upper.min() < -ROUNDING or upper.max() > 1.0 + ROUNDING:
        raise ValueError("the grid does not hold all points of the density")
    mass = np.bincount(left, kernel.share * (1.0 - upper), count)
    mass += np.bincount(left + 1, kernel.share * upper, count)

    reach = int(np.ceil(REACH * kernel.bandwidth / step))
    z = np.arange(-reach, reach + 1) * (step / kernel.bandwidth)
    bell = np.exp(-0.5 * z * z)
    size = next_fast_len(count + 2 * reach, real=True)
    waves = rfft(mass, size)
    kernels = rfft(np.stack([bell, -z * bell]), size)
    density, slope = irfft(waves * kernels, size)[:, reach : reach + count]
    sparse = density <= SPARSE * density.max()
    score = np.divide(slope, density * kernel.bandwidth, out=np.zeros(count), where=~sparse)
    if sparse.any():
        nodes = low + step * np.flatnonzero(sparse).astype(np.float64)
        score[sparse] = _nearby_score(nodes, _by_cell(left, kernel), kernel.bandwidth)
    return np.asarray(score, dtype=np.float64)


def _by_cell(cell: NDArray[np.int64], kernel: Kernel) -> tuple[Doubles, Doubles]:
    """Points and shares merged by grid cell, ascending: each cell's centroid and mass."""
    mass = np.bincount(cell, weights=kernel.share)
    held = np.flatnonzero(mass)
    centre = np.bincount(cell, kernel.share * kernel.points)[held] / mass[held]
    return np.asarray(centre, dtype=np.float64), np.asarray(mass[held], dtype=np.float64)


def _nearby_score(values: Doubles, cells: tuple[Doubles, Doubles], bandwidth: float) -> Doubles:
    """Score far from the points, where only the nearest on each side count."""
    points, share = cells
    score, block = np.empty(len(values)), 2_000
    around = np.arange(-NEARBY, NEARBY)
    for start in range(0, len(values), block):
        part = values[start : start + block]
        index = np.searchsorted(points, part)[:, None] + around
        inside = (index >= 0) & (index < len(points))
        index = index.clip(0, len(points) - 1)
        z = (points[index] - part[:, None]) / bandwidth
        exponent = np.where(inside, -0.5 * z * z, -np.inf)
        weight = np.exp(exponent - exponent.max(axis=1, keepdims=True)) * share[index]
        total = weight.sum(axis=1)
        score[start : start + block] = (weight * z).sum(axis=1) / (total * bandwidth)
    return score
