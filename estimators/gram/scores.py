"""A second pass over rows: second moments of all pairs' scores, of units and of clusters.

From them come HC0 and clustered variances, contrasts and joint bands of every pair at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from estimators.gram.accumulate import Blocks, check, in_leaves, leaves
from estimators.gram.blas import Doubles, one_thread, pack
from estimators.gram.columns import Rows
from estimators.gram.layout import WHOLE, Layout
from estimators.gram.moments import Fitted
from estimators.gram.partials import merge
from estimators.gram.products import HOST, Products
from estimators.gram.shape import ScoreShape


@dataclass(frozen=True, slots=True)
class ScoreSums:
    """Sums over units of weighted score vectors of length L; two can be added.

    Attributes
    ----------
    n
        Units.
    total
        ``(L,)`` sums.
    unit
        Packed ``(L, L)`` second moments of the units' weighted scores.
    clusters
        Clusters, 0 where none were asked for.
    cluster
        Packed second moments of the clusters' sums, or empty.
    """

    n: int
    total: Doubles
    unit: Doubles
    clusters: int
    cluster: Doubles

    def __add__(self, other: ScoreSums) -> ScoreSums:
        return ScoreSums(
            self.n + other.n,
            self.total + other.total,
            self.unit + other.unit,
            self.clusters + other.clusters,
            self.cluster + other.cluster,
        )


def second_pass(
    layout: Layout,
    rows: Rows,
    fitted: Fitted,
    *,
    clustered: bool = False,
    products: Products = HOST,
) -> list[tuple[int, int, ScoreSums]]:
    """Second moments by leaf: fold, bucket and sums, in order; `merge_scores` adds them.

    A group's effects take the group's rows alone, with the same `fitted`.

    Parameters
    ----------
    rows
        All rows of one or more buckets; of *all* slices where `clustered`, since a cluster must be
        whole.
    clustered
        Also sum the scores by cluster (`Rows.place`).
    products
        Where products are made.
    """
    check(layout, rows)
    work = Scorer(layout, fitted, products)
    with one_thread():
        ordered = in_leaves(layout, rows, by_place=clustered)
        work.blocks.open(ordered)
        return [
            (fold, bucket, work.sums(leaf, fold, clustered=clustered))
            for fold, bucket, leaf in leaves(layout, ordered)
        ]


def merge_scores(parts: Iterable[tuple[int, int, ScoreSums]]) -> ScoreSums | None:
    """Add the leaves of all folds along the fixed tree."""
    ordered = sorted(parts, key=lambda part: part[:2])
    return merge((fold << WHOLE | bucket, sums) for fold, bucket, sums in ordered)


class Scorer:
    """Buffers for one worker's score vectors. Not to be shared by threads."""

    def __init__(self, layout: Layout, fitted: Fitted, products: Products) -> None:
        self.layout = layout
        self.products = products
        self.shape: ScoreShape = fitted.shape
        self.fitted = fitted
        self.blocks = Blocks(layout)
        self.buffer = np.empty(self.shape.size * layout.block)

    def sums(self, leaf: slice, fold: int, *, clustered: bool) -> ScoreSums:
        """Sums of a leaf's scores, and of their products."""
        size = self.shape.size
        total, units = np.zeros(size), self.products.totals(size)
        by_cluster = _Clusters(size)
        for part, scores in self.vectors(leaf, fold):
            total += scores.sum(axis=1)
            units.add(scores)
            if clustered:
                by_cluster.add(part, scores)
        (unit,) = units.result()
        cluster = pack(by_cluster.close()) if clustered else np.zeros(0)
        return ScoreSums(leaf.stop - leaf.start, total, pack(unit), by_cluster.count, cluster)

    def observe(self, s: int, rows: Rows, block: Doubles, residual: Doubles) -> None:
        """See a system's ``(t, rows)`` residuals on the way; nothing by default."""

    def vectors(self, leaf: slice, fold: int) -> Iterator[tuple[Rows, Doubles]]:
        """Blocks of rows and their ``(L, rows)`` weighted scores."""
        for part, block in self.blocks.of(leaf):
            scores = self.buffer[: self.shape.size * part.n].reshape(self.shape.size, part.n)
            for s in range(len(self.shape.systems)):
                self._system(s, part, block, self.fitted.nuisances[s].coefficients[fold], scores)
            yield part, scores

    def targets(self, s: int, block: Doubles) -> Doubles:
        """``(t, rows)`` a system's treatments and outcomes about their pinned centres."""
        p, outcomes = self.blocks.p, self.layout.outcomes
        picked = [*range(p, self.blocks.r)]
        picked += [self.blocks.r + outcomes.index(name) for name in self.shape.systems[s].outcomes]
        return np.asarray(block[picked])

    def weight(self, s: int, rows: Rows) -> Doubles:
        """``(rows,)`` weights, zero where the system's outcome is missing."""
        own = self.shape.systems[s].rows
        return np.where(np.isnan(rows.outcomes[own]), 0.0, rows.weight) if own else rows.weight

    def _system(
        self, s: int, rows: Rows, block: Doubles, coefficients: Doubles, out: Doubles
    ) -> None:
        shape, j = self.shape, len(self.shape.treatments)
        residual = self.targets(s, block) - coefficients.T @ block[: self.blocks.p]
        self.observe(s, rows, block, residual)
        weight = self.weight(s, rows)
        d, y = residual[:j], residual[j:]
        weighted = d if bool((weight == 1.0).all()) else d * weight
        first = shape.starts[s]
        for i in range(j):
            stop = first + j - i
            np.multiply(weighted[i], d[i:], out=out[first:stop])
            first = stop
        for row in y:
            np.multiply(weighted, row, out=out[first : first + j])
            first += j


class _Clusters:
    """Second moments of clusters' sums, from rows that come cluster by cluster."""

    def __init__(self, size: int) -> None:
        self.moments = np.zeros((size, size))
        self.open = np.zeros(size)
        self.place: int | None = None
        self.count = 0

    def add(self, rows: Rows, scores: Doubles) -> None:
        place = rows.place
        starts = np.concatenate([[0], np.flatnonzero(place[1:] != place[:-1]) + 1])
        sums = np.add.reduceat(scores, starts, axis=1)
        if self.place == int(place[0]):
            sums[:, 0] += self.open
        elif self.place is not None:
            self._finish(self.open[:, None])
        self._finish(np.ascontiguousarray(sums[:, :-1]))
        self.open, self.place = sums[:, -1].copy(), int(place[-1])

    def close(self) -> Doubles:
        if self.place is not None:
            self._finish(self.open[:, None])
            self.place = None
        return self.moments

    def _finish(self, sums: Doubles) -> None:
        self.count += sums.shape[1]
        if sums.shape[1]:
            self.moments += sums @ sums.T
