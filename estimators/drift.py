"""Drift: whether an effect differs from an earlier estimate of it, as a test and not as a look.

Two windows may share clusters (a year holds its months; a re-run of a month holds the same days),
and then their estimates move together. With influence sums by cell,
phi_c = (sum psi_a theta + sum psi_b)_c / sum psi_a, and cells matched by their ids,

    rho = sum_c phi_c phi'_c / sqrt(sum_c phi_c^2 sum_c phi'_c^2),
    Var(theta - theta') = se^2 + se'^2 - 2 rho se se'.

Where cells are clusters, rho se se' is the clustered covariance of the two estimates; where cells
are hash buckets of clusters it estimates it, and the variances stay the exact ones. Windows
without a cell in common are independent: rho = 0. Source: Liang and Zeger 1986 (clustered
moments); Clogg, Petkova and Haritou 1995 (difference of dependent estimates).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from estimators.inference import FEW_CLUSTERS
from estimators.sums import sum_by

Doubles = NDArray[np.float64]

_ROUNDING = 1e-6
"""A difference whose standard error would be below this share of the larger one is rounding."""


@dataclass(frozen=True, slots=True)
class CellSeries:
    """The sums of one effect in one repetition, an entry a cell (folds may repeat a cell).

    Attributes
    ----------
    cell
        ``(L,)`` cell ids.
    a, b
        ``(L,)`` sums of w psi_a and of w psi_b.
    """

    cell: NDArray[np.str_]
    a: Doubles
    b: Doubles


@dataclass(frozen=True, slots=True)
class Influence:
    """One estimate and how its cells moved it.

    Attributes
    ----------
    theta, se
        As recorded: the median over repetitions.
    clusters
        Number of clusters; None where none is declared.
    cell
        ``(C,)`` cell ids, sorted, each once.
    phi
        ``(C,)`` influence of each cell on theta, mean over repetitions.
    """

    theta: float
    se: float
    clusters: int | None
    cell: NDArray[np.str_]
    phi: Doubles


@dataclass(frozen=True, slots=True)
class Drift:
    """The test of ``theta_now - theta_then`` against zero.

    Attributes
    ----------
    correlation
        Of the two estimates, from the cells that they share.
    shared
        Cells with influence in both.
    degrees
        Of the t distribution; infinite from 50 clusters on.
    """

    difference: float
    se: float
    z: float
    p_value: float
    correlation: float
    shared: int
    degrees: float


def influence(
    repetitions: Sequence[CellSeries], theta: float, se: float, clusters: int | None
) -> Influence:
    """Influence of the cells on an estimate, from the sums of its repetitions.

    Parameters
    ----------
    theta, se, clusters
        As recorded.

    Raises
    ------
    ValueError
        There is no repetition, or one with sum psi_a = 0.
    """
    if not repetitions:
        raise ValueError("no sums to compare")
    cells = np.unique(np.concatenate([each.cell for each in repetitions]))
    phi = np.zeros(len(cells))
    for each in repetitions:
        total = float(each.a.sum())
        if total == 0.0 or not np.isfinite(total):
            raise ValueError("sum psi_a is zero: the effect has no estimate")
        solved = -float(each.b.sum()) / total
        place = np.searchsorted(cells, each.cell).astype(np.int64)
        phi += sum_by(place, solved * each.a + each.b, len(cells)) / total
    return Influence(theta, se, clusters, cells, phi / len(repetitions))


def drift(now: Influence, then: Influence) -> Drift:
    """Test whether two estimates of one effect differ.

    Windows of few clusters get t quantiles with one degree of freedom less than the smaller
    number of clusters, as single estimates do.

    Raises
    ------
    ValueError
        A standard error is not positive.
    """
    if not (now.se > 0 and then.se > 0):
        raise ValueError("a standard error is not positive")
    rho, shared = correlation(now, then)
    difference = now.theta - then.theta
    variance = now.se**2 + then.se**2 - 2.0 * rho * now.se * then.se
    floor = (_ROUNDING * max(now.se, then.se)) ** 2
    se = float(np.sqrt(max(variance, floor)))
    z = difference / se
    degrees = _degrees(now.clusters, then.clusters)
    return Drift(difference, se, z, float(2.0 * stats.t.sf(abs(z), degrees)), rho, shared, degrees)


def correlation(now: Influence, then: Influence) -> tuple[float, int]:
    """Correlation of two estimates in [-1, 1], and the number of cells that they share."""
    _, mine, theirs = np.intersect1d(now.cell, then.cell, assume_unique=True, return_indices=True)
    product = now.phi[mine] * then.phi[theirs]
    scale = float(np.sqrt((now.phi**2).sum() * (then.phi**2).sum()))
    shared = int(np.count_nonzero(product))
    if scale == 0.0 or shared == 0:
        return 0.0, shared
    return float(np.clip(product.sum() / scale, -1.0, 1.0)), shared


def _degrees(*clusters: int | None) -> float:
    known = [each for each in clusters if each is not None]
    if not known or min(known) >= FEW_CLUSTERS:
        return np.inf
    return float(max(min(known) - 1, 1))
