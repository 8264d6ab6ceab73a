"""Effects of all pairs from sums of scores, and their covariance from second moments.

Several treatments are joint: ``theta = (sum v v')^-1 sum v u`` over all residuals, where pairwise
regression would give one treatment another's effect. Marginal effects are there on request.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from estimators.dependence import correlation_of, dependent, pivot
from estimators.gram.blas import Doubles, one_thread, unpack
from estimators.gram.shape import ScoreShape

LEAST_VARIATION = 1e-9
"""A treatment of whose variance its nuisance leaves less than this share is perfectly predicted."""


@dataclass(frozen=True, slots=True)
class Effects:
    """Partialling-out effects of J treatments on M outcomes, in the order of ``shape.effects``.

    Attributes
    ----------
    theta
        ``(M J,)``, NaN where `faults` says why.
    faults
        Error code by effect, None where the effect could be had: ``constant_treatment``,
        ``perfectly_predicted``, ``collinear_treatments``.
    joint
        Whether the treatments are joint.
    total
        ``(L,)`` sums of scores that theta was solved from.
    """

    shape: ScoreShape
    theta: Doubles
    faults: tuple[str | None, ...]
    joint: bool
    total: Doubles


def solve(shape: ScoreShape, total: Doubles, variation: Doubles, *, joint: bool = True) -> Effects:
    """Solve every pair's effect.

    Parameters
    ----------
    total
        ``(L,)`` sums of scores over everything that is pooled: folds, windows, a group's rows.
    variation
        ``(S, J)`` from `moments.Fitted`.
    """
    thetas: list[Doubles] = []
    faults: list[str | None] = []
    for s, system in enumerate(shape.systems):
        a, b = total[shape.a(s)], total[shape.b(s)]
        codes = _faults(a, variation[s], joint=joint)
        good = np.array([code is None or code == "collinear_treatments" for code in codes])
        theta = np.full(b.shape, np.nan)
        theta[:, good] = _solve(a[np.ix_(good, good)], b[:, good], joint=joint)
        theta[:, [code is not None for code in codes]] = np.nan
        thetas.append(theta.ravel())
        faults += codes * len(system.outcomes)
    return Effects(shape, np.concatenate(thetas), tuple(faults), joint, total)


def _solve(a: Doubles, b: Doubles, *, joint: bool) -> Doubles:
    if not joint:
        return np.asarray(b / np.diagonal(a))
    with one_thread():
        taken, _ = pivot(correlation_of(a))
        theta = np.zeros_like(b)
        theta[:, taken] = np.linalg.solve(a[np.ix_(taken, taken)], b[:, taken].T).T
    return theta


def _faults(a: Doubles, variation: Doubles, *, joint: bool) -> list[str | None]:
    codes: list[str | None] = [
        "constant_treatment"
        if share == 0.0
        else "perfectly_predicted"
        if share < LEAST_VARIATION
        else None
        for share in variation
    ]
    good = [j for j, code in enumerate(codes) if code is None]
    if joint and len(good) > 1:
        with one_thread():
            _, tied = dependent(correlation_of(a[np.ix_(good, good)]))
        for j in tied:
            codes[good[j]] = "collinear_treatments"
    return codes


def covariance(effects: Effects, second: Doubles, clusters: int | None = None) -> Doubles:
    """Sandwich covariance of all pairs, ``(M J, M J)``; NaN for effects with a fault.

    Parameters
    ----------
    second
        ``(L, L)`` second moments of the scores of units (HC0) or of clusters, or packed.
    clusters
        Number of clusters, G: the factor G / (G - 1). None for units.
    """
    shape = effects.shape
    if second.ndim == 1:
        second = unpack(second, shape.size)
    good = np.array([fault is None for fault in effects.faults])
    known = np.where(good, effects.theta, 0.0)
    scores, bread = _linear(shape, effects.total, known, joint=effects.joint)
    with one_thread():
        keep = np.ix_(good, good)
        meat = (scores @ second @ scores.T)[keep]
        half = np.linalg.solve(bread[keep], meat)
        inside = np.linalg.solve(bread[keep], half.T)
    result = np.full(bread.shape, np.nan)
    factor = 1.0 if clusters is None else clusters / (clusters - 1.0)
    result[keep] = factor * (inside + inside.T) / 2.0
    return result


def second_of(scores: Doubles) -> Doubles:
    """``(L, L)`` second moments of clusters' scores ``(C, L)``."""
    with one_thread():
        return np.asarray(scores.T @ scores)


def _linear(
    shape: ScoreShape, total: Doubles, theta: Doubles, *, joint: bool
) -> tuple[Doubles, Doubles]:
    """Each effect's score as a linear map of the score vector, and the bread."""
    j, size = len(shape.treatments), len(theta)
    scores, bread = np.zeros((size, shape.size)), np.zeros((size, size))
    row = 0
    for s in range(len(shape.systems)):
        a = shape.a(s)
        for positions in shape.b(s):
            own = slice(row, row + j)
            for i in range(j):
                scores[row + i, positions[i]] = 1.0
                if joint:
                    scores[row + i, a[i]] -= theta[own]
                else:
                    scores[row + i, a[i, i]] -= theta[row + i]
            bread[own, own] = total[a] if joint else np.diag(np.diagonal(total[a]))
            row += j
    return scores, bread
