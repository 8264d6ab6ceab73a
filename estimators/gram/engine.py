"""From buckets of rows to all pairs' effects: two maps over buckets, and arithmetic between.

This is the order that a distributed run follows too: its workers read their own buckets, and only
sums come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from estimators.gram.accumulate import accumulate
from estimators.gram.blas import Doubles
from estimators.gram.columns import Rows
from estimators.gram.inference import Effects, covariance, solve
from estimators.gram.layout import WHOLE, Layout
from estimators.gram.moments import Fitted, fit_folds
from estimators.gram.partials import Partial, Sums, Tree, nothing
from estimators.gram.products import HOST, Products
from estimators.gram.ridge import PENALTIES
from estimators.gram.scores import ScoreSums, second_pass

Apply = Callable[[Callable[[int], Any], Sequence[int]], Iterable[Any]]
"""``map``, or a pool's: results in the order of the buckets."""


@dataclass(frozen=True, slots=True)
class Estimates:
    """All pairs' effects with their covariances, in the order of ``effects.shape.effects``.

    Attributes
    ----------
    hc0
        ``(M J, M J)``.
    clustered
        The same by cluster, or None.
    """

    effects: Effects
    fitted: Fitted
    sums: ScoreSums
    hc0: Doubles
    clustered: Doubles | None


def split(layout: Layout, rows: Rows) -> tuple[Sequence[int], Callable[[int], Rows]]:
    """Buckets of rows in memory, and how to read one: sorted and copied once, then cut."""
    ordered = rows.in_order(rows.fold, layout.buckets(rows.place))
    found, starts = np.unique(layout.buckets(ordered.place), return_index=True)
    bounds = dict(zip(found.tolist(), pairwise([*starts.tolist(), rows.n]), strict=True))
    return found.tolist(), lambda bucket: ordered.take(slice(*bounds[bucket]))


def first_pass(
    layout: Layout,
    buckets: Sequence[int],
    read: Callable[[int], Rows],
    apply: Apply = map,
    *,
    products: Products = HOST,
) -> list[Sums]:
    """Each fold's sums; partials are added as they come and not kept.

    Parameters
    ----------
    buckets
        Ascending.
    """

    def work(bucket: int) -> list[Partial]:
        return accumulate(layout, read(bucket), products=products)

    trees: list[Tree[Sums]] = [Tree() for _ in range(layout.folds)]
    for partials in apply(work, buckets):
        for each in partials:
            trees[each.leaf.fold].push(each.leaf.position(layout.depth), each.sums)
    return [tree.result() or nothing(layout) for tree in trees]


def scores_of(
    layout: Layout,
    buckets: Sequence[int],
    read: Callable[[int], Rows],
    fitted: Fitted,
    apply: Apply = map,
    *,
    clustered: bool = False,
    products: Products = HOST,
) -> ScoreSums:
    """The second pass over all buckets."""

    def work(bucket: int) -> list[tuple[int, int, ScoreSums]]:
        return second_pass(layout, read(bucket), fitted, clustered=clustered, products=products)

    trees: list[Tree[ScoreSums]] = [Tree() for _ in range(layout.folds)]
    for parts in apply(work, buckets):
        for fold, bucket, sums in parts:
            trees[fold].push(bucket, sums)
    whole: Tree[ScoreSums] = Tree()
    for fold, tree in enumerate(trees):
        merged = tree.result()
        if merged is not None:
            whole.push(fold << WHOLE, merged)
    total = whole.result()
    if total is None:
        raise ValueError("no rows for a second pass")
    return total


def estimate(
    layout: Layout,
    buckets: Sequence[int],
    read: Callable[[int], Rows],
    apply: Apply = map,
    *,
    penalties: Sequence[float] = PENALTIES,
    joint: bool = True,
    clustered: bool = False,
    products: Products = HOST,
) -> Estimates:
    """Estimate every treatment's effect on every outcome.

    Parameters
    ----------
    buckets
        Ascending; ``read(bucket)`` gives all its rows, each time anew.
    apply
        ``map``, or a pool's.
    products
        Where products are made.
    """
    folds = first_pass(layout, buckets, read, apply, products=products)
    fitted = fit_folds(layout, folds, penalties)
    effects = solve(fitted.shape, fitted.scores.sum(axis=0), fitted.variation, joint=joint)
    sums = scores_of(layout, buckets, read, fitted, apply, clustered=clustered, products=products)
    by_cluster = covariance(effects, sums.cluster, sums.clusters) if clustered else None
    return Estimates(effects, fitted, sums, covariance(effects, sums.unit), by_cluster)
