"""One pass over rows: blocks of a fixed length become the partial Grams of their leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.errors import ContractError, Where
from estimators.gram.blas import Doubles, one_thread, pack, packed_size, unpack
from estimators.gram.columns import Coded, Rows
from estimators.gram.evaluate import Evaluator
from estimators.gram.layout import Layout
from estimators.gram.partials import Leaf, Partial, Sums
from estimators.gram.products import HOST, Products


def accumulate(
    layout: Layout, rows: Rows, *, slice_: int = 0, products: Products = HOST
) -> list[Partial]:
    """Sum rows into the partial Grams of their leaves.

    A leaf's rows must all come in one call, in any order: they are sorted by unit and cut into
    blocks of ``layout.block``.

    Parameters
    ----------
    rows
        All rows of one or more buckets of the slice.
    slice_
        The slice that they belong to.
    products
        Where products are made.

    Returns
    -------
    list of Partial
        In the order of the leaves.

    Raises
    ------
    ContractError
        ``missing_treatment``, ``missing_outcome``, ``infinite_value``, ``bad_weight``,
        ``bad_fold``, ``missing_column``, ``column_kind``.
    """
    check(layout, rows)
    work = Blocks(layout)
    # infinities give NaN on the way; they are looked for in the finished sum
    with one_thread(), np.errstate(invalid="ignore", over="ignore"):
        ordered = in_leaves(layout, rows)
        work.open(ordered)
        return [
            Partial(Leaf(fold, slice_, bucket), _sums(work, leaf, products))
            for fold, bucket, leaf in leaves(layout, ordered)
        ]


def leaves(layout: Layout, ordered: Rows) -> Iterator[tuple[int, int, slice]]:
    """Fold, bucket and rows of each leaf, in the order of `in_leaves`."""
    fold, bucket = ordered.fold, layout.buckets(ordered.place)
    change = (fold[1:] != fold[:-1]) | (bucket[1:] != bucket[:-1])
    bounds = [0, *(np.flatnonzero(change) + 1).tolist(), ordered.n]
    for start, stop in pairwise(bounds):
        if stop > start:
            yield int(fold[start]), int(bucket[start]), slice(start, stop)


def in_leaves(layout: Layout, rows: Rows, *, by_place: bool = False) -> Rows:
    """The rows leaf by leaf, sorted inside; `by_place` keeps a cluster's rows together."""
    bucket = layout.buckets(rows.place)
    return rows.in_order(*([rows.place] if by_place else []), bucket, rows.fold)


class Blocks:
    """Buffers of a layout's blocks, used again for each. Not to be shared by threads."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.p, self.r, self.q = layout.p, layout.with_treatments, layout.q
        self.evaluator = Evaluator(layout.basis, layout.block)
        self.buffer = np.empty(self.q * layout.block)

    def open(self, rows: Rows) -> None:
        """Take the rows whose leaves follow."""
        self.rows = replace(rows, covariates=self.evaluator.read(rows.covariates))

    def of(self, leaf: slice) -> Iterator[tuple[Rows, Doubles]]:
        """Cut a leaf's rows into blocks: the rows and their ``(q, rows)`` columns, unweighted.

        A missing outcome is filled with its centre. The columns are overwritten by the next block.
        """
        for start in range(leaf.start, leaf.stop, self.layout.block):
            part = self.rows.take(slice(start, min(start + self.layout.block, leaf.stop)))
            yield part, self._fill(part)

    def _fill(self, rows: Rows) -> Doubles:
        layout = self.layout
        block = self.buffer[: self.q * rows.n].reshape(self.q, rows.n)
        block[0] = 1.0
        self.evaluator.fill(_arrays(rows), block[1 : self.p])
        values = [rows.treatments[name] for name in layout.treatments]
        values += [rows.outcomes[name] for name in layout.outcomes]
        for row, value, centre in zip(block[self.p :], values, layout.centre, strict=True):
            np.subtract(value, centre, out=row)
        for name in layout.own_rows:
            row = block[self.r + layout.outcomes.index(name)]
            row[np.isnan(row)] = 0.0
        return block


def _arrays(rows: Rows) -> dict[str, NDArray[Any]]:
    """Covariates that the evaluator has read."""
    return {name: x for name, x in rows.covariates.items() if not isinstance(x, Coded)}


def _sums(work: Blocks, leaf: slice, products: Products) -> Sums:
    layout, r = work.layout, work.r
    whole = products.totals(work.q)
    gaps = products.totals(r, len(layout.own_rows))
    n_missing = np.zeros(len(layout.own_rows), dtype=np.int64)
    strays = np.zeros(len(work.evaluator.names), dtype=np.int64)
    for part, block in work.of(leaf):
        weigh(part, block)
        whole.add(block)
        strays += work.evaluator.strays(_arrays(part))
        for j, name in enumerate(layout.own_rows):
            absent = np.flatnonzero(np.isnan(part.outcomes[name]))
            if len(absent):
                gaps.add(np.ascontiguousarray(block[:r, absent]), j)
                n_missing[j] += len(absent)
    (total,) = whole.result()
    _finite(layout, total)
    missing = np.array([pack(each) for each in gaps.result()]).reshape(-1, packed_size(r))
    return Sums(leaf.stop - leaf.start, pack(total), missing, n_missing, strays)


def weigh(rows: Rows, block: Doubles) -> None:
    """Multiply the columns by the square root of the weights."""
    if bool((rows.weight != 1.0).any()):
        np.multiply(block, np.sqrt(rows.weight), out=block)


def check(layout: Layout, rows: Rows) -> None:
    """Refuse rows that break the layout's promises, before any is summed."""
    fold, weight = rows.fold, rows.weight
    if rows.n and (int(fold.min()) < 0 or int(fold.max()) >= layout.folds):
        raise ContractError(
            f"folds {int(fold.min())} to {int(fold.max())} in the rows, "
            f"0 to {layout.folds - 1} in the layout",
            code="bad_fold",
            remedy="build the features and the layout from the same study",
        )
    if not bool(np.all(np.isfinite(weight) & (weight >= 0))):
        raise ContractError(
            "a weight is negative, missing or infinite",
            code="bad_weight",
            where=Where(column="weight"),
            remedy="give every unit a weight of zero or more",
        )
    for name in layout.treatments:
        _complete(name, rows.treatments[name], "treatment")
    for name in layout.outcomes:
        if name not in layout.own_rows:
            _complete(name, rows.outcomes[name], "outcome")


def _complete(name: str, values: Doubles, what: str) -> None:
    absent = int(np.isnan(values).sum())
    if absent:
        also = "; or declare missing: drop" if what == "outcome" else ""
        raise ContractError(
            f"{what} {name!r} is missing in {absent} of {len(values)} rows",
            code=f"missing_{what}",
            where=Where(column=name),
            remedy=f"leave those units out of the unit SQL{also}",
        )


def _finite(layout: Layout, total: Doubles) -> None:
    diagonal = np.diagonal(total)
    if np.isfinite(diagonal).all():
        return
    name = layout.names[int(np.flatnonzero(~np.isfinite(diagonal))[0])]
    raise ContractError(
        f"column {name!r} has an infinite value, or one whose square overflows",
        code="infinite_value",
        where=Where(column=name),
        remedy="mend the value in the unit SQL (NULL is a missing value), or bound the column",
    )


def square(layout: Layout, sums: Sums) -> Doubles:
    """The ``(q, q)`` Gram of some sums."""
    return unpack(sums.gram, layout.q)
