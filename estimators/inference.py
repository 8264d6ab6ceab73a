"""From sums to estimates: theta, standard errors, intervals, joint bands. No rows, no refit.

Conventions (Chernozhukov et al. 2018; Bach et al. 2022): folds are pooled before solving;
phi_i = -(psi_a,i theta + psi_b,i) / mean(psi_a); SE = sd(phi) / sqrt(n) with ddof 0; clusters get
the factor G/(G-1), and t quantiles with G-1 degrees of freedom below 50 clusters; without clusters
units are as many, so that two units of a group do not pass for a large sample. Repetitions: the
median theta, and sqrt(median(se_r^2 + (theta_r - median)^2)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from estimators.learners import seed_of
from estimators.sums import sum_by

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

Adjust = Literal["romano-wolf", "holm"]
"""How p-values answer for the whole family."""

FEW_CLUSTERS = 50
DRAWS = 10_000
ROUNDING = 1e-12
"""Share of its terms below which a variance from second moments is rounding: theta is then more
than a million times the spread of the scores, as an arm's mean of 1e9 plus noise."""
NOTHING = 1e-28
"""The same of a variance from the scores themselves."""


@dataclass(frozen=True, slots=True)
class FamilySums:
    """Sums of one repetition for a family of M effects (an effect within a group is one).

    Attributes
    ----------
    ids
        Effect ids, length M.
    column, cell
        ``(L,)`` which effect and which cell each entry belongs to.
    n, a, b
        ``(L,)`` units, sums of w psi_a and of w psi_b. Entries without a unit that hold sums are a
        calibration's share of the uncertainty: they are no clusters, and leave theta alone.
    unit
        ``(3, M, M)`` second moments aa, ab, bb of units; pairs in different groups are zero.
    cluster
        The same of clusters where cells are buckets of them; else None.
    clusters
        ``(M,)`` clusters by effect, or None without clusters.
    """

    ids: tuple[str, ...]
    column: Longs
    cell: Longs
    n: Longs
    a: Doubles
    b: Doubles
    unit: Doubles
    cluster: Doubles | None
    clusters: Longs | None


@dataclass(frozen=True, slots=True)
class Solved:
    """One repetition's solution: ``(M,)`` theta and n, ``(M, M)`` covariances.

    Attributes
    ----------
    covariance
        Clustered where clusters are declared, else HC0.
    hc0
        ``(M, M)`` unclustered covariance.
    """

    theta: Doubles
    n: Longs
    covariance: Doubles
    hc0: Doubles


@dataclass(frozen=True, slots=True)
class Estimate:
    """One effect. Figures are None where `error_code` says why there are none."""

    effect_id: str
    n: int
    n_clusters: int | None
    theta: float | None = None
    se: float | None = None
    se_hc0: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    band_low: float | None = None
    band_high: float | None = None
    error_code: str | None = None


def solve(sums: FamilySums, *, across: bool = False) -> Solved:
    """Solve theta = -sum(psi_b) / sum(psi_a) and the covariance of one repetition.

    Parameters
    ----------
    across
        Where cells are buckets of clusters, moments are kept within groups, and two groups of one
        cluster count as independent. With `across` their covariance is estimated by that of the
        buckets' sums, as a contrast of the two needs it.
    """
    size = len(sums.ids)
    sums, calibration = _apart(sums)
    total_a, total_b = sum_by(sums.column, sums.a, size), sum_by(sums.column, sums.b, size)
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = np.where(total_a != 0, -total_b / total_a, np.nan)
        hc0 = _scaled(_unit_meat(sums, theta), total_a)
        if sums.clusters is None:
            covariance = hc0
        else:
            meat = _meat(sums, theta, across=across)
            factor = np.sqrt(sums.clusters / np.maximum(sums.clusters - 1.0, 0.0))
            covariance = _scaled(meat, total_a) * np.outer(factor, factor)
        if calibration is not None:
            share = _scaled(_cell_meat(calibration, theta), total_a)
            covariance, hc0 = covariance + share, hc0 + share
    n = sum_by(sums.column, sums.n.astype(np.float64), size).astype(np.int64)
    return Solved(theta, n, covariance, hc0)


def _apart(sums: FamilySums) -> tuple[FamilySums, FamilySums | None]:
    """The trial's entries and a calibration's: those without a unit that hold sums."""
    extra = (sums.n == 0) & ((sums.a != 0.0) | (sums.b != 0.0))
    if not extra.any():
        return sums, None
    trial, calibration = (
        replace(
            sums, column=sums.column[rows], cell=sums.cell[rows], n=sums.n[rows], a=sums.a[rows],
            b=sums.b[rows],
        )
        for rows in (~extra, extra)
    )  # fmt: skip
    return trial, calibration


def _meat(sums: FamilySums, theta: Doubles, *, across: bool) -> Doubles:
    """Second moments of the clusters' sums."""
    if sums.cluster is None:
        return _cell_meat(sums, theta)
    meat = _known(_sandwich(sums.cluster, theta), _terms(sums.cluster, theta))
    if not across:
        return meat
    apart = (sums.cluster == 0.0).all(axis=0)
    return np.where(apart, _cell_meat(sums, theta), meat)


def _sandwich(moments: Doubles, theta: Doubles) -> Doubles:
    """Second moments of psi_a theta + psi_b for every pair of effects."""
    aa, ab, bb = moments
    cross = theta[:, None] * ab
    return np.asarray(np.outer(theta, theta) * aa + cross + cross.T + bb, dtype=np.float64)


def _unit_meat(sums: FamilySums, theta: Doubles) -> Doubles:
    """Second moments of the units' scores; from the scores themselves where moments round."""
    meat, terms = _sandwich(sums.unit, theta), _terms(sums.unit, theta)
    lost = _rounded(meat, terms)
    if not lost.any() or (sums.n > 1).any():
        return _known(meat, terms)
    exact = _cell_meat(sums, theta)
    exact[np.diag_indices_from(exact)] *= np.diagonal(exact) > NOTHING * terms
    return np.where(lost[:, None] | lost[None, :], exact, meat)


def _terms(moments: Doubles, theta: Doubles) -> Doubles:
    """What a sandwich's diagonal is the difference of."""
    aa, _, bb = moments
    return np.asarray(theta**2 * np.diagonal(aa) + np.diagonal(bb), dtype=np.float64)


def _rounded(meat: Doubles, terms: Doubles) -> NDArray[np.bool_]:
    return np.asarray(np.diagonal(meat) < ROUNDING * terms, dtype=np.bool_)


def _known(meat: Doubles, terms: Doubles) -> Doubles:
    """The sandwich without variances that are rounding: these are NaN."""
    lost = _rounded(meat, terms)
    if lost.any():
        meat[lost, lost] = np.nan
    return meat


def _cell_meat(sums: FamilySums, theta: Doubles) -> Doubles:
    """Second moments of the cells' sums: a cell is a cluster."""
    values = theta[sums.column] * sums.a + sums.b
    shape = (int(sums.cell.max(initial=0)) + 1, len(sums.ids))
    scores = sparse.csr_array((values, (sums.cell, sums.column)), shape=shape)
    return np.asarray((scores.T @ scores).toarray(), dtype=np.float64)


def _scaled(meat: Doubles, total_a: Doubles) -> Doubles:
    return np.asarray(meat / np.outer(total_a, total_a), dtype=np.float64)


def estimate(
    repetitions: Sequence[FamilySums], level: float, *, drawn: bool = True
) -> list[Estimate]:
    """Estimate a family of effects from its sums, a `FamilySums` a repetition.

    Groups of one cluster count as independent where cells are buckets of clusters (see `solve`).
    Their joint band is then wider than it need be and never narrower: of all correlations none
    makes the largest statistic larger (Sidak 1967, *Rectangular confidence regions*).

    Parameters
    ----------
    level
        Confidence level of intervals and of the joint band.
    drawn
        Draw the joint band and the Romano-Wolf p-values; without, they are None.
    """
    first = repetitions[0]
    solved = [solve(sums) for sums in repetitions]
    return conclude(
        first.ids, solved, first.clusters, level, adjust="romano-wolf" if drawn else None
    )


def conclude(
    ids: Sequence[str],
    solved: Sequence[Solved],
    clusters: Longs | None,
    level: float,
    *,
    adjust: Adjust | None,
    units: Longs | None = None,
) -> list[Estimate]:
    """Figures of a family from its solution in each repetition.

    Parameters
    ----------
    ids, clusters
        Of the family, length M; no clusters are None.
    adjust
        ``romano-wolf`` draws the joint band and stepdown p-values; ``holm`` takes Bonferroni's band
        and Holm's p-values, at no cost; None leaves both out.
    units
        ``(M,)`` units whose degrees of freedom an effect without clusters has; None: its own n.
    """
    theta = np.median([each.theta for each in solved], axis=0)
    se = _median_se(solved, theta, [np.diagonal(each.covariance) for each in solved])
    hc0 = _median_se(solved, theta, [np.diagonal(each.hc0) for each in solved])
    counts = [None if clusters is None else int(clusters[i]) for i in range(len(ids))]
    codes = [_fault(theta[i], se[i], counts[i]) for i in range(len(ids))]
    good = np.array([code is None for code in codes])
    owners = solved[0].n if units is None else units
    degrees = _degrees(owners if clusters is None else clusters)
    with np.errstate(invalid="ignore", divide="ignore"):
        critical = np.asarray(stats.t.ppf(0.5 + level / 2.0, degrees))
        p_value = np.asarray(2.0 * stats.t.sf(np.abs(theta / se), degrees))
    band, adjusted = _joint(
        solved, theta, se, good, degrees, level=level, ids=tuple(ids), adjust=adjust
    )
    return [
        _estimate(
            (ids[i], int(solved[0].n[i]), counts[i]), codes[i], theta[i], se[i], hc0[i],
            critical[i], p_value[i], band[i], adjusted[i],
        )
        for i in range(len(ids))
    ]  # fmt: skip


def _estimate(effect: tuple[str, int, int | None], code: str | None, *figures: float) -> Estimate:
    theta, se, hc0, critical, p_value, band, adjusted = (float(each) for each in figures)
    if code is not None:
        return Estimate(*effect, error_code=code)
    missing = np.isnan(band)
    return Estimate(
        *effect, theta, se, None if np.isnan(hc0) else hc0,
        theta - critical * se, theta + critical * se, p_value, None if missing else adjusted,
        None if missing else theta - band * se, None if missing else theta + band * se,
    )  # fmt: skip


def _median_se(solved: Sequence[Solved], theta: Doubles, variances: Sequence[Doubles]) -> Doubles:
    spread = [
        variance + (each.theta - theta) ** 2
        for each, variance in zip(solved, variances, strict=True)
    ]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(np.median(spread, axis=0)), dtype=np.float64)


def _fault(theta: float, se: float, clusters: int | None) -> str | None:
    if not np.isfinite(theta):
        return "no_variation"
    if clusters is not None and clusters < 2:  # noqa: PLR2004  a variance needs two
        return "too_few_clusters"
    return None if np.isfinite(se) and se > 0 else "no_variation"


def _degrees(owners: Longs) -> Doubles:
    """Of clusters or units; where none are counted, as of a difference of windows, no limit."""
    few = (owners < FEW_CLUSTERS) & (owners > 0)
    return np.where(few, np.maximum(owners - 1.0, 1.0), np.inf)


def _joint(
    solved: Sequence[Solved],
    theta: Doubles,
    se: Doubles,
    good: NDArray[np.bool_],
    df: Doubles,
    *,
    level: float,
    ids: tuple[str, ...],
    adjust: Adjust | None,
) -> tuple[Doubles, Doubles]:
    """Critical values of the joint band and stepdown p-values, from draws of N(0, Corr).

    The Gaussian multiplier bootstrap is exactly such a draw. Statistics and critical values pass
    between an effect's own t distribution and the normal by their p-values, so that a group of
    few clusters does not widen the others' bands. Whatever the draws, no figure is better than that
    of the effect alone, and no band is wider than Bonferroni's.
    Source: Romano and Wolf 2005, *Exact and approximate stepdown methods for multiple hypothesis
    testing*.
    """
    size = len(theta)
    critical, adjusted = np.full(size, np.nan), np.full(size, np.nan)
    if adjust is None or not good.any():
        return critical, adjusted
    df = df[good]
    p_value = np.asarray(2.0 * stats.t.sf(np.abs(theta[good] / se[good]), df))
    if good.sum() == 1:
        critical[good] = stats.t.ppf(0.5 + level / 2.0, df)
        adjusted[good] = p_value
        return critical, adjusted
    if adjust == "holm":
        critical[good] = stats.t.isf((1.0 - level) / 2.0 / len(df), df)
        adjusted[good] = holm(p_value)
        return critical, adjusted
    correlation = np.mean([_correlation(each.covariance[np.ix_(good, good)]) for each in solved], 0)
    names = tuple(name for name, kept in zip(ids, good, strict=True) if kept)
    draws = np.abs(_draws(correlation, seed_of("band", *names)))
    alone, bonferroni = stats.norm.isf((1.0 - level) / 2.0 / np.array([1.0, len(df)]))
    largest = np.clip(np.quantile(draws.max(axis=1), level), alone, bonferroni)
    critical[good] = stats.t.isf(stats.norm.sf(largest), df)
    z = np.asarray(stats.norm.isf(p_value / 2.0))
    adjusted[good] = np.maximum(_stepdown(z, draws), p_value)
    return critical, adjusted


def holm(p_value: Doubles) -> Doubles:
    """Holm's stepdown p-values, ``(M,)``: valid under any dependence.

    Source: Holm 1979, *A simple sequentially rejective multiple test procedure*.
    """
    order = np.argsort(p_value, kind="stable")
    times = np.arange(len(p_value), 0, -1)
    adjusted: Doubles = np.empty_like(p_value)
    adjusted[order] = np.minimum(np.maximum.accumulate(times * p_value[order]), 1.0)
    return adjusted


def _correlation(covariance: Doubles) -> Doubles:
    scale = np.sqrt(np.diagonal(covariance))
    return np.asarray(covariance / np.outer(scale, scale), dtype=np.float64)


def _draws(correlation: Doubles, seed: int) -> Doubles:
    """``(DRAWS, M)`` draws of N(0, correlation)."""
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    normal = np.random.default_rng(seed).standard_normal((DRAWS, len(values)))
    return np.asarray(normal @ root.T, dtype=np.float64)


def _stepdown(t: Doubles, draws: Doubles) -> Doubles:
    """Stepdown p-values of absolute statistics ``(M,)`` against absolute draws."""
    order = np.argsort(-t, kind="stable")
    largest = np.maximum.accumulate(draws[:, order][:, ::-1], axis=1)[:, ::-1]
    p = (1.0 + (largest >= t[order][None, :]).sum(axis=0)) / (len(draws) + 1.0)
    adjusted: Doubles = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p)
    return adjusted
