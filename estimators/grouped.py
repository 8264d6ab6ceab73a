"""Groups that no study declared: their sums from unit scores, as declared groups have them.

A group's effect is solved again within the group, theta_g = -sum_g psi_b / sum_g psi_a; means of
influence values over the group would be right only where psi_a is constant.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from estimators.cells import EffectScores
from estimators.effects import grouped_id
from estimators.inference import FamilySums
from estimators.sums import sum_by
from estimators.units import Groups

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]


def grouped_sums(
    scores: Sequence[EffectScores],
    weight: Doubles,
    cluster: Longs | None,
    groups: Groups,
    name: str,
) -> FamilySums:
    """Sums of one repetition for every effect in every group that holds a unit of it.

    Parameters
    ----------
    scores
        Scores of the effects, in the order of the family.
    weight
        ``(n,)`` sampling weights.
    cluster
        ``(n,)`` cluster index; None where no cluster is declared.
    groups, name
        The grouping and its name.
    """
    width = len(groups.values)
    counts = [
        np.bincount(groups.codes[rows], minlength=width)
        for rows in (each.rows & (groups.codes >= 0) for each in scores)
    ]
    filled = np.flatnonzero(np.concatenate(counts))
    column_of = np.full(len(scores) * width, -1, dtype=np.int64)
    column_of[filled] = np.arange(len(filled))
    entries = [
        _entries(each, weight, cluster, groups, column_of[i * width : (i + 1) * width])
        for i, each in enumerate(scores)
    ]
    column, cell, n, a, b = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    clusters = None if cluster is None else np.bincount(column, minlength=len(filled))
    return FamilySums(
        tuple(
            grouped_id(scores[code // width].effect_id, name, groups.values[code % width])
            for code in filled.tolist()
        ),
        column,
        cell,
        n,
        a,
        b,
        _unit_moments(scores, weight, groups.codes, width, filled),
        None,
        clusters,
    )


def _entries(
    each: EffectScores,
    weight: Doubles,
    cluster: Longs | None,
    groups: Groups,
    column_of: Longs,
) -> tuple[Longs, Longs, Longs, Doubles, Doubles]:
    """Sums of one effect by group and cluster: column, cell, n, a, b."""
    codes, width = groups.codes, len(groups.values)
    rows = np.flatnonzero(each.rows & (codes >= 0))
    owner = np.zeros(len(rows), dtype=np.int64) if cluster is None else cluster[rows]
    present, index = np.unique(owner * width + codes[rows], return_inverse=True)
    size = len(present)
    cell, code = np.divmod(present, width)
    return (
        column_of[code],
        cell,
        np.bincount(index, minlength=size).astype(np.int64),
        sum_by(index, weight[rows] * each.psi_a[rows], size),
        sum_by(index, weight[rows] * each.psi_b[rows], size),
    )


def _unit_moments(
    scores: Sequence[EffectScores], weight: Doubles, codes: Longs, width: int, filled: Longs
) -> Doubles:
    """``(3, M, M)`` second moments of units; groups share no unit."""
    inside = codes >= 0
    code = codes[inside]
    a = [(weight * each.psi_a)[inside] for each in scores]
    b = [(weight * each.psi_b)[inside] for each in scores]
    size = len(scores) * width
    moments = np.zeros((3, len(filled), len(filled)))
    place = np.full(size, -1, dtype=np.int64)
    place[filled] = np.arange(len(filled))
    for i in range(len(scores)):
        for j in range(len(scores)):
            row, column = place[i * width : (i + 1) * width], place[j * width : (j + 1) * width]
            both = (row >= 0) & (column >= 0)
            for kind, (left, right) in enumerate(((a[i], a[j]), (a[i], b[j]), (b[i], b[j]))):
                found = sum_by(code, left * right, width)
                moments[kind, row[both], column[both]] = found[both]
    return moments
