"""Contrasts: differences of estimates with their joint covariance. No rows, no refit.

A contrast is theta_i - theta_j with influence phi_i - phi_j, so that clusters (or units) that both
share cancel. It is taken in each repetition; its theta is then the median and its standard error
follows the median rule, as an effect's does. Sources: Chernozhukov et al. 2018 (the median rule);
Liang and Zeger 1986 (clustered moments).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.drift import Influence, drift
from estimators.inference import Adjust, Estimate, FamilySums, Solved, conclude, solve

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Family:
    """A solved family.

    Attributes
    ----------
    ids, clusters
        Effect ids and, where clusters are declared, their numbers.
    solved, across
        A solution a repetition; `across` has what groups share where cells are buckets.
    """

    ids: tuple[str, ...]
    clusters: NDArray[np.int64] | None
    solved: list[Solved]
    across: list[Solved]


def solve_family(repetitions: Sequence[FamilySums]) -> Family:
    """Solve every repetition of a family."""
    first = repetitions[0]
    solved = [solve(each) for each in repetitions]
    bucketed = first.cluster is not None
    across = [solve(each, across=True) for each in repetitions] if bucketed else solved
    return Family(first.ids, first.clusters, solved, across)


def contrasts(
    family: Family, pairs: Sequence[tuple[int, int]], level: float, adjust: Adjust | None
) -> list[Estimate]:
    """Contrasts of a family's effects, each the first of a pair less the second.

    Parameters
    ----------
    pairs
        Positions in the family; the pairs shown together are a family of their own, over which
        bands and adjusted p-values hold.

    Returns
    -------
    list of Estimate
        Ids are ``first - second``; `n` counts the units of both, `n_clusters` is the smaller of the
        two counts, whose degrees of freedom a contrast of few clusters (or units) has.
    """
    first, second = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
    differences = [contrast(each, first, second) for each in family.across]
    clusters = family.clusters
    counts = None if clusters is None else np.minimum(clusters[first], clusters[second])
    names = [f"{family.ids[i]} - {family.ids[j]}" for i, j in pairs]
    n = family.solved[0].n
    fewest = np.minimum(n[first], n[second])
    return conclude(names, differences, counts, level, adjust=adjust, units=fewest)


def contrast(solved: Solved, first: Longs, second: Longs) -> Solved:
    """Solution of theta[first] - theta[second], ``(K,)``, with its ``(K, K)`` covariances."""
    return Solved(
        solved.theta[first] - solved.theta[second],
        solved.n[first] + solved.n[second],
        _difference(solved.covariance, first, second),
        _difference(solved.hc0, first, second),
    )


def _difference(covariance: Doubles, first: Longs, second: Longs) -> Doubles:
    """Covariance of differences; swapping a pair's sides gives the same bytes."""
    same = covariance[np.ix_(first, first)] + covariance[np.ix_(second, second)]
    other = covariance[np.ix_(first, second)] + covariance[np.ix_(second, first)]
    return np.asarray(same - other, dtype=np.float64)


def between(
    ids: Sequence[str],
    pairs: Sequence[tuple[Influence, Influence]],
    level: float,
    adjust: Adjust | None,
) -> list[Estimate]:
    """Contrasts of separate runs (windows), whose estimates may share cells.

    The difference and its standard error are the drift test's; the contrasts' correlation is that
    of their influence sums over all cells.

    Parameters
    ----------
    ids
        Names of the contrasts.
    pairs
        The estimates of each contrast: the first less the second.
    """
    tests = [drift(now, then) for now, then in pairs]
    se = np.array([each.se for each in tests])
    correlation = _correlation(pairs)
    covariance = np.outer(se, se) * correlation
    known = [[each.clusters for each in pair if each.clusters is not None] for pair in pairs]
    clusters = np.array([min(counts) for counts in known]) if all(known) else None
    solved = Solved(
        np.array([each.difference for each in tests]),
        np.zeros(len(tests), dtype=np.int64),
        covariance,
        covariance,
    )
    return conclude(ids, [solved], clusters, level, adjust=adjust)


def _correlation(pairs: Sequence[tuple[Influence, Influence]]) -> Doubles:
    """Correlation of the contrasts' influence over the union of all cells."""
    cells = np.unique(np.concatenate([each.cell for pair in pairs for each in pair]))
    phi = np.zeros((len(pairs), len(cells)))
    for row, (now, then) in zip(phi, pairs, strict=True):
        row[np.searchsorted(cells, now.cell)] += now.phi
        row[np.searchsorted(cells, then.cell)] -= then.phi
    scale = np.sqrt((phi**2).sum(axis=1))
    scaled = phi / np.where(scale > 0.0, scale, 1.0)[:, None]
    found = scaled @ scaled.T
    np.fill_diagonal(found, 1.0)
    return np.asarray(found, dtype=np.float64)
