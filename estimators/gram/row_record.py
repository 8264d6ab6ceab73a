"""From a pass by row to the record's cells, moments and tallies of a repetition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from estimators.cells import CellSums, Moment
from estimators.crossfit import Sums
from estimators.gram.blas import unpack
from estimators.gram.keyed import Keyed
from estimators.gram.record_pass import CELL, NO_GROUPS
from estimators.gram.row_pass import HISTOGRAMS, SUMS, Codes, RowRecording
from estimators.joint import element_ids, places
from estimators.tallies import Tally


def recorded(
    keyed: Keyed,
    what: RowRecording,
    cell_rank: Codes,
    named: tuple[Sequence[Tally], Sequence[Tally]],
) -> Sums:
    """The sums of a repetition.

    Parameters
    ----------
    cell_rank
        Place of each code of a cell among the sorted labels.
    named
        From `row_pass.template`.
    """
    names = [None, *(name for name in what.groups if what.columns(name))]
    cells = {name: _cells(keyed, what, cell_rank, name or NO_GROUPS) for name in names}
    single = {name: _single(found, what, name or NO_GROUPS) for name, found in cells.items()}
    return Sums(
        what.rep,
        {name: found for name, found in single.items() if found.effects},
        {name: _moments(keyed, what.columns(name or NO_GROUPS), name) for name in names},
        _tallies(keyed, what, *named),
        [],
        joint={name: _joint(found, what, name or NO_GROUPS) for name, found in cells.items()},
    )


def _cells(keyed: Keyed, what: RowRecording, cell_rank: Codes, name: str) -> CellSums:
    """Sums of all columns of a grouping."""
    rows = sorted(
        (
            (code % what.folds, int(cell_rank[code // what.folds]), group, sums)
            for group, code, sums in keyed.of(CELL, name)
        ),
        key=lambda row: row[:3],
    )
    ids = tuple(what.columns(name))
    first, mask = what.masks(name)
    place = np.array([row[:3] for row in rows], dtype=np.int64).reshape(-1, 3)
    sums = np.array([row[3] for row in rows]).reshape(len(rows), 2 * len(first) + 2 * len(ids))
    n, w, a, b = np.split(sums, np.cumsum([len(first), len(first), len(ids)]), axis=1)
    n = n[:, mask].astype(np.int64)
    return CellSums(ids, place[:, 0], place[:, 1], place[:, 2], n, w[:, mask], a, b)


def _of(found: CellSums, effects: Sequence[str], own: Sequence[int], a: Sequence[int]) -> CellSums:
    """Some columns, in the cells where they have a unit."""
    rows = np.flatnonzero((found.n[:, own] > 0).any(axis=1))
    return CellSums(
        tuple(effects), found.fold[rows], found.cell[rows], found.group[rows],
        found.n[rows][:, own], found.w[rows][:, own], found.a[rows][:, a],
        found.b[rows][:, own],
    )  # fmt: skip


def _single(found: CellSums, what: RowRecording, name: str) -> CellSums:
    """Effects that are solved by themselves."""
    ids = [each.effect_id for each in what.chosen(name)[0]]
    own = list(range(len(ids)))
    return _of(found, ids, own, own)


def _joint(found: CellSums, what: RowRecording, name: str) -> list[CellSums]:
    """Joint blocks, with the J x J matrix of each as `joint.block_cells` has it."""
    single, joint = what.chosen(name)
    at, parts = len(single), []
    for block in joint:
        ids = [each.effect_id for each in block]
        size = len(ids)
        matrix = (at + places(size).ravel()).tolist()
        parts.append(_of(found, ids, list(range(at, at + size)), matrix))
        at += len(element_ids(ids))
    return parts


def _moments(keyed: Keyed, ids: Sequence[str], name: str | None) -> list[Moment]:
    found, size = [], len(ids)
    for level in ("unit", "cluster"):
        for group, _, packed in keyed.of(level, name or NO_GROUPS):
            whole = unpack(packed, 2 * size)
            aa, ab, ba, bb = (
                whole[i * size : (i + 1) * size, j * size : (j + 1) * size].tolist()
                for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))
            )
            found += [
                Moment(group, level, ids[i], ids[k], aa[i][k], ab[i][k], ba[i][k], bb[i][k])
                for i in range(size)
                for k in range(i, size)
            ]
    return found


def _tallies(
    keyed: Keyed, what: RowRecording, summed: Sequence[Tally], named: Sequence[Tally]
) -> list[Tally]:
    sums = keyed.parts[SUMS, NO_GROUPS, 0, 0]
    histograms = iter(keyed.parts.get((HISTOGRAMS, NO_GROUPS, 0, 0), np.empty(0)))
    known, first = {}, what.first
    for each, (n, w, ww, x, xx, xy) in zip(summed, sums.tolist(), strict=True):
        hist = tuple(next(histograms).astype(np.int64).tolist()) if each.hist else ()
        row = replace(each, n=round(n), w=w, ww=ww, x=x, xx=xx, xy=xy, hist=hist)
        known[_key(row, row.effect_id)] = row
    found = []
    for each in named:
        row = known.get(_key(each, each.effect_id)) or known[_key(each, first[str(each.effect_id)])]
        found.append(replace(row, effect_id=each.effect_id))
    return found


def _key(row: Tally, effect_id: str | None) -> tuple[object, ...]:
    about = (row.subject, effect_id, row.arm, row.weighting, row.fold)
    return (*about, row.group_by, row.group_value)
