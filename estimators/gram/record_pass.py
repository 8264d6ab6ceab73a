"""The second pass of a recorded study: scores by cell, group and cluster, and what checks tally.

One walk over a leaf's rows fills all sums that the record holds; they merge along the fixed tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.gram.accumulate import check, in_leaves, leaves
from estimators.gram.blas import Doubles, one_thread, pack
from estimators.gram.columns import Rows
from estimators.gram.keyed import Key, Keyed
from estimators.gram.layout import Layout
from estimators.gram.moments import Fitted
from estimators.gram.pairs import PairColumns, PairShape
from estimators.gram.products import HOST, Products
from estimators.gram.scores import Scorer

Codes = NDArray[np.int64]

CELL = "cell"
"""Mark of the rows' cells; a grouping's mark is its name."""
NO_GROUPS = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a second pass sums besides the scores.

    Attributes
    ----------
    groupings
        Names of marks that hold a group's code, -1 for rows without a group.
    clustered
        Second moments of clusters too (`Rows.place`): cells are buckets of them.
    pairs
        The sums over pairs; None in all repetitions but the first.
    """

    groupings: tuple[str, ...] = ()
    clustered: bool = False
    pairs: PairShape | None = None


def record_pass(
    layout: Layout, rows: Rows, fitted: Fitted, what: Recording, products: Products = HOST
) -> list[tuple[int, int, Keyed]]:
    """Sums of the record by leaf: fold, bucket and `Keyed`, in the order of the leaves.

    The kinds are ``cell`` (scores, then units and weights by system), ``unit`` and ``cluster``
    (packed second moments), ``clusters`` (their number by system), ``pairs``, and ``loss`` (by
    system in place of the group: errors, their squares, the constant's, then n, w and ww).

    Parameters
    ----------
    rows
        All rows of one or more buckets, of *all* slices where clusters are summed; ``cell`` and
        the groupings among their marks.
    products
        Where products of whole blocks are made; those of a group's few rows are made here.
    """
    check(layout, rows)
    work = _Recorder(layout, fitted, what, products)
    with one_thread():
        ordered = in_leaves(layout, rows, by_place=True)
        work.blocks.open(ordered)
        return [
            (fold, bucket, work.keyed(ordered, leaf, fold))
            for fold, bucket, leaf in leaves(layout, ordered)
        ]


class _Recorder(Scorer):
    """A scorer whose blocks also feed the record's sums."""

    def __init__(self, layout: Layout, fitted: Fitted, what: Recording, products: Products) -> None:
        super().__init__(layout, fitted, products)
        self.what = what
        self.pairs = PairColumns(what.pairs) if what.pairs else None
        self.fold = 0
        self.losses: list[Doubles] = []
        self.counts: list[Doubles] = []

    def keyed(self, ordered: Rows, leaf: slice, fold: int) -> Keyed:
        systems = self.shape.systems
        targets = [len(self.shape.treatments) + len(each.outcomes) for each in systems]
        self.fold = fold
        self.losses = [np.zeros((4, size)) for size in targets]
        self.counts = [np.zeros(3) for _ in systems]
        slots = [_Slot(self, ordered, leaf, name) for name in (NO_GROUPS, *self.what.groupings)]
        for start, (part, scores) in self._numbered(leaf, fold):
            counts = self._counts(part)
            whole = slice(leaf.start + start, leaf.start + start + part.n)
            sides = self.pairs.sides(ordered.take(whole)) if self.pairs else None
            for slot in slots:
                slot.add(slice(start, start + part.n), scores, counts, sides)
        parts: dict[Key, Doubles] = {}
        for slot in slots:
            parts.update(slot.parts())
        for s, loss in enumerate(self.losses):
            parts["loss", NO_GROUPS, s, 0] = np.concatenate([loss.ravel(), self.counts[s]])
        return Keyed(parts)

    def _numbered(self, leaf: slice, fold: int) -> Iterator[tuple[int, tuple[Rows, Doubles]]]:
        start = 0
        for part, scores in self.vectors(leaf, fold):
            yield start, (part, scores)
            start += part.n

    def _counts(self, rows: Rows) -> Doubles:
        """``(2 S, rows)``: whether a system observes a row, and its weight there."""
        out = np.empty((2 * len(self.shape.systems), rows.n))
        for s, system in enumerate(self.shape.systems):
            out[s] = ~np.isnan(rows.outcomes[system.rows]) if system.rows else 1.0
            out[len(self.shape.systems) + s] = self.weight(s, rows)
        return out

    def observe(self, s: int, rows: Rows, block: Doubles, residual: Doubles) -> None:
        """Squared errors of a system's nuisances, and those of the training rows' means."""
        weight, own = self.weight(s, rows), self.shape.systems[s].rows
        constant = self.targets(s, block) - self.fitted.nuisances[s].mean[self.fold][:, None]
        for row, error in ((0, residual), (2, constant)):
            square = error * error
            weighted = square * weight
            self.losses[s][row] += weighted.sum(axis=1)
            self.losses[s][row + 1] += (weighted * square).sum(axis=1)
        n = float((~np.isnan(rows.outcomes[own])).sum()) if own else float(rows.n)
        self.counts[s] += [n, float(weight.sum()), float((weight * weight).sum())]


class _Slot:
    """Sums of one grouping over a leaf; the totals are a grouping with one group."""

    def __init__(self, work: _Recorder, ordered: Rows, leaf: slice, name: str) -> None:
        self.work, self.name, self.size = work, name, work.shape.size
        n = leaf.stop - leaf.start
        marks = {key: values[leaf] for key, values in ordered.marks.items()}
        group = marks[name] if name else np.zeros(n, dtype=np.int64)
        self.groups, self.group = _index(group)
        self.cells, self.cell = _index(group, marks[CELL])
        width = self.size + 2 * len(work.shape.systems)
        self.by_cell = np.zeros((self.cells.shape[1], width))
        products = HOST if name else work.products
        self.unit = products.totals(self.size, len(self.groups[0]))
        self.by_cluster = np.zeros((0, width))
        if work.what.clustered:
            self.clusters, self.cluster = _index(group, ordered.place[leaf].view(np.int64))
            self.by_cluster = np.zeros((self.clusters.shape[1], width))
        size = work.what.pairs.size if work.what.pairs else (0, 0)
        self.pair = np.zeros((len(self.groups[0]), *size))

    def add(
        self, rows: slice, scores: Doubles, counts: Doubles, sides: tuple[Doubles, Doubles] | None
    ) -> None:
        """Add a block: `rows` are its row numbers in the leaf."""
        for index, out in self._indexed(rows):
            _add_by(out[:, : self.size], index, scores)
            _add_by(out[:, self.size :], index, counts)
        for code, chosen in _runs(self.group[rows]):
            mine = scores if chosen is None else np.ascontiguousarray(scores[:, chosen])
            self.unit.add(mine, code)
            if sides is not None:
                left, right = sides if chosen is None else (each[:, chosen] for each in sides)
                self.pair[code] += left @ right.T

    def _indexed(self, rows: slice) -> Iterator[tuple[Codes, Doubles]]:
        yield self.cell[rows], self.by_cell
        if self.work.what.clustered:
            yield self.cluster[rows], self.by_cluster

    def parts(self) -> Iterator[tuple[Key, Doubles]]:
        """The finished sums by key."""
        for (group, cell), sums in zip(self.cells.T.tolist(), self.by_cell, strict=True):
            yield (CELL, self.name, group, cell), sums.copy()
        units = self.unit.result()
        for code, group in enumerate(self.groups[0].tolist()):
            yield ("unit", self.name, group, 0), pack(units[code])
            if self.work.pairs:
                yield ("pairs", self.name, group, 0), self.pair[code].copy()
            if self.work.what.clustered:
                mine = self.by_cluster[self.clusters[0] == group]
                sums = mine[:, : self.size]
                yield ("cluster", self.name, group, 0), pack(sums.T @ sums)
                seen = mine[:, self.size : self.size + len(self.work.shape.systems)] > 0
                yield ("clusters", self.name, group, 0), seen.sum(axis=0).astype(np.float64)


def _index(*codes: Codes) -> tuple[Codes, Codes]:
    """Distinct combinations ``(columns, C)`` and each row's; -1 where the first code is -1."""
    order = np.lexsort(codes[::-1])
    ordered = np.stack(codes)[:, order]
    change = np.concatenate([[True], (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)])
    index = np.empty(len(order), dtype=np.int64)
    index[order] = np.cumsum(change) - 1
    distinct = ordered[:, change]
    missing = int((distinct[0] < 0).sum())  # they come first
    return distinct[:, missing:], np.maximum(index - missing, -1)


def _add_by(out: Doubles, index: Codes, values: Doubles) -> None:
    """Add the columns of `values` to the rows of `out` that `index` names; -1 names none."""
    ordered, columns = _sorted(index)
    if len(ordered) == 0:
        return
    starts = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
    chosen = values if columns is None else values[:, columns]
    out[ordered[starts]] += np.add.reduceat(chosen, starts, axis=1).T


def _runs(index: Codes) -> Iterator[tuple[int, NDArray[Any] | None]]:
    """Each code of a block with its columns, None where they are all."""
    ordered, columns = _sorted(index)
    if len(ordered) and columns is None and ordered[0] == ordered[-1]:
        yield int(ordered[0]), None
        return
    places = np.arange(len(index)) if columns is None else columns
    for part in np.split(np.arange(len(ordered)), np.flatnonzero(np.diff(ordered)) + 1):
        if len(part):
            yield int(ordered[part[0]]), places[part]


def _sorted(index: Codes) -> tuple[Codes, NDArray[Any] | None]:
    """Codes in ascending order without -1, and the columns they come from (None: as they are)."""
    if not bool((index[1:] < index[:-1]).any()) and (len(index) == 0 or index[0] >= 0):
        return index, None
    columns = np.argsort(index, kind="stable")
    columns = columns[index[columns] >= 0]
    return index[columns], columns
