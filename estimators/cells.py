"""Mergeable sums of scores: cells and moments, the unit of exchange after cross-fitting.

Sums run over rows in the units' fixed order, so that equal rows give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.sums import sum_by
from estimators.units import Groups, Units

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EffectScores:
    """Scores of one effect in one repetition.

    Attributes
    ----------
    rows
        ``(n,)`` bool: the units that the effect is estimated on.
    psi_a, psi_b
        ``(n,)`` float64, zero outside `rows`.
    """

    effect_id: str
    rows: NDArray[np.bool_]
    psi_a: Doubles
    psi_b: Doubles


@dataclass(frozen=True, slots=True)
class CellSums:
    """Sums over cells of one grouping: C rows, E effects.

    Attributes
    ----------
    effects
        Effect ids, length E.
    fold, cell, group
        ``(C,)`` fold, index into the units' cells, index into the grouping's values (0 if none).
    n
        ``(C, E)`` units counted.
    w, a, b
        ``(C, E)`` sums of w, w psi_a and w psi_b.
    """

    effects: tuple[str, ...]
    fold: Longs
    cell: Longs
    group: Longs
    n: Longs
    w: Doubles
    a: Doubles
    b: Doubles


@dataclass(frozen=True, slots=True)
class Moment:
    """Second moments of the weighted scores of two effects, at the level of units or clusters."""

    group: int
    level: str
    effect_i: str
    effect_j: str
    aa: float
    ab: float
    ba: float
    bb: float


def sum_cells(
    units: Units, rep: int, scores: Sequence[EffectScores], groups: Groups | None
) -> CellSums:
    """Sum scores by (fold, cell) and, where given, group. Cells without a unit are left out."""
    width = len(groups.values) if groups else 1
    folds = units.fold[:, rep].astype(np.int64)
    group = groups.codes if groups else np.zeros(units.n, dtype=np.int64)
    used = (group >= 0) & np.any([each.rows for each in scores], axis=0)
    code = (folds * len(units.cells) + units.cell) * width + group
    present, index = np.unique(code[used], return_inverse=True)
    weight, size = units.weight[used], len(present)

    def sums(each: EffectScores, values: Doubles) -> Doubles:
        return sum_by(index, values * each.rows[used], size)

    columns = [
        (
            sums(each, np.ones(len(index))),
            sums(each, weight),
            sums(each, weight * each.psi_a[used]),
            sums(each, weight * each.psi_b[used]),
        )
        for each in scores
    ]
    n, w, a, b = (np.stack(column, axis=1) for column in zip(*columns, strict=True))
    rest, value = np.divmod(present, width)
    fold, cell = np.divmod(rest, len(units.cells))
    ids = tuple(each.effect_id for each in scores)
    return CellSums(ids, fold, cell, value, n.astype(np.int64), w, a, b)


def sum_moments(
    units: Units, scores: Sequence[EffectScores], groups: Groups | None
) -> list[Moment]:
    """Second moments by group: of units always, of clusters where cells are buckets of them."""
    width = len(groups.values) if groups else 1
    group = groups.codes if groups else np.zeros(units.n, dtype=np.int64)
    used = group >= 0
    weight = units.weight[used]
    parts = {
        each.effect_id: (weight * each.psi_a[used], weight * each.psi_b[used]) for each in scores
    }
    moments = _products(parts, group[used], width, "unit")
    if units.bucketed and units.cluster is not None and units.clusters is not None:
        code = units.cluster[used] * width + group[used]
        present, index = np.unique(code, return_inverse=True)
        by_cluster = {
            name: (
                sum_by(index, a, len(present)),
                sum_by(index, b, len(present)),
            )
            for name, (a, b) in parts.items()
        }
        moments += _products(by_cluster, present % width, width, "cluster")
    return moments


def _products(
    parts: Mapping[str, tuple[Doubles, Doubles]], group: Longs, width: int, level: str
) -> list[Moment]:
    def total(left: Doubles, right: Doubles) -> Doubles:
        return sum_by(group, left * right, width)

    moments = []
    names = list(parts)
    for i, first in enumerate(names):
        for second in names[i:]:
            (a_i, b_i), (a_j, b_j) = parts[first], parts[second]
            sums = total(a_i, a_j), total(a_i, b_j), total(b_i, a_j), total(b_i, b_j)
            moments += [
                Moment(g, level, first, second, *(float(each[g]) for each in sums))
                for g in range(width)
            ]
    return moments
