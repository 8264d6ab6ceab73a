"""Out-of-fold residual moments from Grams alone: what every pair's effect is solved from.

With coefficients B of (T, Y) on the regressors P, fitted without the fold, the residuals' second
moments are ``G_tt - B'G_pt - G_tp B + B'G_pp B`` of the fold's own Gram: no row is read again.
The same holds of any part of a fold, so a cluster's Gram gives the cluster's scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from estimators.gram.blas import Doubles, one_thread
from estimators.gram.layout import Layout
from estimators.gram.partials import Partial, Sums, by_fold
from estimators.gram.ridge import PENALTIES, Nuisances, centred, fit
from estimators.gram.shape import ScoreShape
from estimators.gram.system import Gram, gram_of


@dataclass(frozen=True, slots=True)
class Fitted:
    """Out-of-fold nuisances of all systems, and the residual moments of the folds.

    Attributes
    ----------
    shape
        Positions of the score elements.
    nuisances
        By system, in the order of ``shape.systems``.
    scores
        ``(K, L)`` weighted sums of the score elements by fold.
    weight
        ``(K, S)`` sums of weights by fold and system.
    n
        ``(K, S)`` units.
    quality
        By system, ``(t,)`` out-of-fold R2 of each nuisance: 1 - error / error of the training
        mean. NaN where the target is constant.
    naive
        ``(M, J)`` slope of the outcome on each treatment, without covariates.
    variation
        ``(S, J)`` share of each treatment's variance that its nuisance leaves; 0 where the
        treatment is constant.
    """

    shape: ScoreShape
    nuisances: tuple[Nuisances, ...]
    scores: Doubles
    weight: Doubles
    n: Doubles
    quality: tuple[Doubles, ...]
    naive: Doubles
    variation: Doubles


def residual_moments(gram: Gram, coefficients: Doubles) -> Doubles:
    """``(t, t)`` second moments of the residuals of some rows, from their Gram.

    Parameters
    ----------
    coefficients
        ``(p, t)``, fitted on other rows.
    """
    p = gram.p
    products = gram.values[:p, p:]
    explained = gram.values[:p, :p] @ coefficients
    cross = coefficients.T @ products
    moments = gram.values[p:, p:] - cross - cross.T + coefficients.T @ explained
    return np.asarray((moments + moments.T) / 2.0)


def fit_all(
    layout: Layout, partials: Sequence[Partial], penalties: Sequence[float] = PENALTIES
) -> Fitted:
    """From a table of partial Grams to nuisances and residual moments of every pair.

    Raises
    ------
    UsageError
        ``too_few_folds``, see `ridge.fit`.
    """
    folds = by_fold(layout, partials)
    return fit_folds(layout, folds, penalties)


def fit_folds(
    layout: Layout, folds: Sequence[Sums], penalties: Sequence[float] = PENALTIES
) -> Fitted:
    """The same from each fold's merged sums."""
    shape = ScoreShape.of(layout)
    scores = np.zeros((len(folds), shape.size))
    nuisances: list[Nuisances] = []
    quality: list[Doubles] = []
    grams: list[list[Gram]] = []
    for s, system in enumerate(shape.systems):
        grams.append([gram_of(layout, sums, system) for sums in folds])
        fitted = fit(grams[s], penalties)
        with one_thread():
            moments = [
                residual_moments(gram, slopes)
                for gram, slopes in zip(grams[s], fitted.coefficients, strict=True)
            ]
        for row, each in zip(scores, moments, strict=True):
            shape.vector(s, each, row)
        nuisances.append(fitted)
        quality.append(_quality(grams[s], fitted, moments))
    totals = [_total(each) for each in grams]
    return Fitted(
        shape,
        tuple(nuisances),
        scores,
        np.array([[gram.weight for gram in each] for each in grams]).T,
        np.array([[gram.n for gram in each] for each in grams]).T,
        tuple(quality),
        np.concatenate([_naive(total, len(layout.treatments)) for total in totals]),
        np.stack([_variation(totals[s], scores.sum(axis=0), shape, s) for s in range(len(totals))]),
    )


def leaf_scores(
    layout: Layout, fitted: Fitted, partials: Sequence[Partial]
) -> tuple[Doubles, Doubles, Doubles]:
    """Scores of each leaf (a bucket, or a cluster) from its Gram: cells without a second look.

    Returns
    -------
    n, weight
        ``(C, S)`` units and sums of weights, by leaf and system.
    scores
        ``(C, L)``.
    """
    shape = fitted.shape
    scores = np.zeros((len(partials), shape.size))
    n = np.zeros((len(partials), len(shape.systems)))
    weight = np.zeros_like(n)
    with one_thread():
        for c, each in enumerate(partials):
            for s, system in enumerate(shape.systems):
                gram = gram_of(layout, each.sums, system)
                slopes = fitted.nuisances[s].coefficients[each.leaf.fold]
                shape.vector(s, residual_moments(gram, slopes), scores[c])
                n[c, s], weight[c, s] = gram.n, gram.weight
    return n, weight, scores


def cluster_scores(
    layout: Layout, fitted: Fitted, partials: Sequence[Partial]
) -> tuple[tuple[int, ...], Doubles]:
    """Scores of each cluster where buckets are clusters: slices of one cluster are added.

    Returns
    -------
    clusters
        Their hashes, ascending, C of them.
    scores
        ``(C, L)``.
    """
    ordered = sorted(partials, key=lambda each: each.leaf)
    _, _, scores = leaf_scores(layout, fitted, ordered)
    found = sorted({each.leaf.bucket for each in ordered})
    index: Mapping[int, int] = {bucket: c for c, bucket in enumerate(found)}
    total = np.zeros((len(found), scores.shape[1]))
    np.add.at(total, [index[each.leaf.bucket] for each in ordered], scores)
    return tuple(found), total


def _total(grams: Sequence[Gram]) -> Gram:
    total = grams[0]
    for gram in grams[1:]:
        total = total + gram
    return total


def _quality(grams: Sequence[Gram], fitted: Nuisances, moments: Sequence[Doubles]) -> Doubles:
    error = np.sum([np.diagonal(each) for each in moments], axis=0)
    baseline = np.zeros_like(error)
    for gram, mean in zip(grams, fitted.mean, strict=True):
        own, first = np.diagonal(gram.values)[gram.p :], gram.values[0, gram.p :]
        baseline += own - 2.0 * mean * first + mean**2 * gram.weight
    share = np.divide(error, baseline, out=np.full_like(error, np.nan), where=baseline > 0)
    return np.asarray(1.0 - share)


def _naive(total: Gram, treatments: int) -> Doubles:
    _, products = centred(total)
    own = products[total.p - 1 :, total.p - 1 :]
    spread = np.diagonal(own)[:treatments]
    slopes = own[treatments:, :treatments]
    return np.divide(slopes, spread, out=np.full_like(slopes, np.nan), where=spread > 0)


def _variation(total: Gram, scores: Doubles, shape: ScoreShape, system: int) -> Doubles:
    """Share of a treatment's variance left; a spread of rounding size counts as none."""
    _, products = centred(total)
    first = total.p - 1
    treatments = slice(first, first + len(shape.treatments))
    spread = np.diagonal(products)[treatments]
    raw = np.diagonal(total.values)[1:][treatments]
    left = scores[np.diagonal(shape.a(system))]
    varies = spread > 1e-14 * raw
    return np.divide(left, spread, out=np.zeros_like(left), where=varies)
