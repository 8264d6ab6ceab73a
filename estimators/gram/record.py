"""From Gram scores to the record's cells and moments, so that inference is written once.

The record's cells hold one psi_a and one psi_b an effect: marginal effects, one treatment at a
time (or a study's only treatment). Joint treatments need the J x J block of `inference`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from estimators.cells import CellSums, Moment
from estimators.gram.blas import Doubles, unpack
from estimators.gram.layout import Layout
from estimators.gram.moments import Fitted, leaf_scores
from estimators.gram.partials import Partial
from estimators.gram.shape import Index, ScoreShape


def positions(shape: ScoreShape) -> tuple[Index, Index, Index]:
    """By marginal effect, in the order of ``shape.effects``: ``v_j v_j``, ``v_j u``, system."""
    a, b, system = [], [], []
    for s, each in enumerate(shape.systems):
        own = np.diagonal(shape.a(s))
        a += [own] * len(each.outcomes)
        b += list(shape.b(s))
        system += [s] * (len(each.outcomes) * len(shape.treatments))
    return np.concatenate(a), np.concatenate(b), np.array(system, dtype=np.intp)


def marginal_cells(
    layout: Layout, fitted: Fitted, partials: Sequence[Partial], ids: Sequence[str]
) -> tuple[CellSums, tuple[int, ...]]:
    """Cells of marginal effects, a cell a bucket (a cluster at depth 64), without a second look.

    Parameters
    ----------
    partials
        In the order of the leaves. Slices of a bucket become one cell's entries of each.
    ids
        Effect ids in the order of ``fitted.shape.effects``.

    Returns
    -------
    CellSums
        Without groups.
    tuple of int
        The buckets that its `cell` indexes, ascending.
    """
    a, b, system = positions(fitted.shape)
    n, weight, scores = leaf_scores(layout, fitted, partials)
    buckets = tuple(sorted({each.leaf.bucket for each in partials}))
    index = {bucket: c for c, bucket in enumerate(buckets)}
    cells = CellSums(
        tuple(ids),
        np.array([each.leaf.fold for each in partials], dtype=np.int64),
        np.array([index[each.leaf.bucket] for each in partials], dtype=np.int64),
        np.zeros(len(partials), dtype=np.int64),
        n[:, system].astype(np.int64),
        weight[:, system],
        -scores[:, a],
        scores[:, b],
    )
    return cells, buckets


def marginal_moments(
    shape: ScoreShape, second: Doubles, ids: Sequence[str], level: str
) -> list[Moment]:
    """Second moments of marginal effects, of units or of clusters (`level`), without groups."""
    a, b, _ = positions(shape)
    whole = unpack(second, shape.size) if second.ndim == 1 else second
    return [
        Moment(
            0,
            level,
            ids[i],
            ids[k],
            float(whole[a[i], a[k]]),
            -float(whole[a[i], b[k]]),
            -float(whole[b[i], a[k]]),
            float(whole[b[i], b[k]]),
        )
        for i in range(len(ids))
        for k in range(i, len(ids))
    ]
