"""The second pass of a study whose scores need every row: blocks through the path of rows.

A block's rows become units with out-of-fold predictions; scores, cells and tallies are then those
of `estimators.crossfit`, and add up along the fixed tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.cells import CellSums, EffectScores, sum_cells
from estimators.checks.balance import LEVELS
from estimators.crossfit import Plan, fitted_of, joint_of, scores_of
from estimators.effects import EffectSpec, blocks, group_by_name
from estimators.gram.accumulate import check, in_leaves
from estimators.gram.blas import Doubles, one_thread, pack
from estimators.gram.by_row import ByRow
from estimators.gram.columns import Coded, Rows
from estimators.gram.keyed import Key, Keyed
from estimators.gram.layout import Layout
from estimators.gram.record_pass import CELL, NO_GROUPS
from estimators.gram.terms import OTHER, Category
from estimators.joint import element_ids, elements
from estimators.learners import Design
from estimators.sums import sum_by
from estimators.tallied import alike, tallies_of
from estimators.tallies import Fitted, Tally
from estimators.units import Groups, Units

Codes = NDArray[np.int64]
SUMS, HISTOGRAMS = "tallies", "histograms"


@dataclass(frozen=True, slots=True)
class RowRecording:
    """What a pass by row sums.

    Attributes
    ----------
    plan
        The effects, their nuisances and row masks.
    rep, reps, folds
        Repetition, how many there are, and K.
    groups
        By grouping: sorted labels, and the place of each code of its mark among them.
    clustered
        Second moments of clusters too: cells are buckets of them.
    """

    plan: Plan
    rep: int
    reps: int
    folds: int
    groups: Mapping[str, tuple[tuple[str, ...], Codes]]
    clustered: bool

    def chosen(self, name: str) -> tuple[list[EffectSpec], list[list[EffectSpec]]]:
        """Effects of a grouping (all without one): those by themselves, and joint blocks."""
        asked = [
            each for each in self.plan.effects if not name or name in map(group_by_name, each.by)
        ]
        return [each for each in asked if each.joint is None], blocks(asked)

    @property
    def first(self) -> dict[str, str]:
        """From `tallied.alike`."""
        return alike(self.plan.effects, self.plan.rows, self.plan.targets)

    def columns(self, name: str) -> list[str]:
        """What a grouping's sums are of: effects, then the elements of each joint block."""
        return [column for column, _ in self._columns(name)]

    def masks(self, name: str) -> tuple[list[int], Codes]:
        """First column of each row mask, and the mask of each column: they share n and w."""
        masks = [mask for _, mask in self._columns(name)]
        distinct = list(dict.fromkeys(masks))
        index = np.array([distinct.index(mask) for mask in masks], dtype=np.int64)
        return [masks.index(mask) for mask in distinct], index

    def _columns(self, name: str) -> list[tuple[str, str]]:
        single, joint = self.chosen(name)
        found = [(each.effect_id, self.plan.rows[each.column]) for each in single]
        for block in joint:
            ids = element_ids([each.effect_id for each in block])
            found += [(part, self.plan.rows[block[0].column]) for part in ids]
        return found


def row_pass(layout: Layout, rows: Rows, fitted: ByRow, what: RowRecording) -> Keyed:
    """Sums of the record over some blocks' rows.

    The kinds are ``cell`` (n and w by row mask, a and b by `RowRecording.columns`, one after the
    other; the code of the cell is times K, plus the fold), ``unit`` and ``cluster`` (packed second
    moments of a and b), `SUMS` and `HISTOGRAMS` (a row a tally, in the order of `tallies`).
    """
    check(layout, rows)
    with one_thread():
        ordered = in_leaves(layout, rows, by_place=True)
        units, fits = _fitted(layout, ordered, fitted, what)
        scores = _scores(fits)
        found = tallies_of(units, fits, what.first, once=True)
        parts: dict[Key, Doubles] = {}
        for name in (NO_GROUPS, *units.groups):
            groups, chosen = units.groups.get(name), [scores[each] for each in what.columns(name)]
            if not chosen:
                continue
            cells = sum_cells(units, what.rep, chosen, groups)
            parts |= dict(_cells(cells, what, name, ordered.marks[CELL]))
            parts |= dict(_moments(units, chosen, groups, name))
    names = ("n", "w", "ww", "x", "xx", "xy")
    parts[SUMS, NO_GROUPS, 0, 0] = np.array(
        [[getattr(each, name) for name in names] for each in found], dtype=np.float64
    )
    hist = [each.hist for each in found if each.hist]
    if hist:
        parts[HISTOGRAMS, NO_GROUPS, 0, 0] = np.array(hist, dtype=np.float64)
    return Keyed(parts)


def template(
    layout: Layout, rows: Rows, fitted: ByRow, what: RowRecording
) -> tuple[list[Tally], list[Tally]]:
    """The tallies that every block has, and those of the record, by name.

    Their sums are those of some rows. The record names those that effects share once an effect.
    """
    with one_thread():
        units, fits = _fitted(layout, rows, fitted, what)
        return (
            tallies_of(units, fits, what.first, once=True),
            tallies_of(units, fits, what.first),
        )


def _fitted(
    layout: Layout, rows: Rows, fitted: ByRow, what: RowRecording
) -> tuple[Units, list[Fitted]]:
    units = units_of(layout, rows, what)
    predictions = fitted.predict(layout, rows)
    baseline = dict(zip(fitted.targets, fitted.mean[rows.fold].T, strict=True))
    return units, [
        fitted_of(units, what.plan, effect, what.rep, predictions, constant=baseline.__getitem__)
        for effect in what.plan.effects
    ]


def _scores(fits: Sequence[Fitted]) -> dict[str, EffectScores]:
    """Scores by effect, and by element of joint blocks."""
    scores = [scores_of(one) for one in fits if one.effect.joint is None]
    scores += [part for block, _ in joint_of(fits) for part in elements(block)]
    return {one.effect_id: one for one in scores}


def units_of(layout: Layout, rows: Rows, what: RowRecording) -> Units:
    """A block's rows as the path of rows takes them."""
    present, cell = np.unique(rows.marks[CELL], return_inverse=True)
    folds = [rows.marks[f"fold {rep}"] for rep in range(what.reps)]
    _, cluster = np.unique(rows.place, return_inverse=True)
    groups = {}
    for name, (labels, rank) in what.groups.items():
        code = rows.marks[name]
        groups[name] = Groups(np.where(code < 0, -1, np.append(rank, -1)[code]), labels)
    return Units(
        _design(layout, rows),
        rows.treatments,
        rows.outcomes,
        rows.weight,
        np.stack(folds, axis=1).astype(np.int16),
        cell.astype(np.int64),
        ("",) * len(present),
        cluster.astype(np.int64) if what.clustered else None,
        rows.n if what.clustered else None,
        what.clustered,
        groups,
        folds=layout.folds,
    )


def _design(layout: Layout, rows: Rows) -> Design:
    """Covariates with categories by sorted label; of many levels the rare ones are one."""
    pinned = {term.name: term.levels for term in layout.basis.terms if isinstance(term, Category)}
    values = np.empty((rows.n, len(rows.covariates)))
    categories = {}
    for j, (name, column) in enumerate(rows.covariates.items()):
        if not isinstance(column, Coded):
            values[:, j] = column
            continue
        labels = tuple(sorted(column.labels))
        if len(labels) > LEVELS:
            frequent = [each for each in pinned.get(name, ()) if each is not None][: LEVELS - 1]
            labels = (*sorted(frequent), OTHER)
        index = {label: float(code) for code, label in enumerate(labels)}
        codes = [index.get(label, len(labels) - 1.0) for label in column.labels]
        values[:, j] = np.array([*codes, np.nan])[column.codes]
        categories[j] = labels
    return Design(values, tuple(rows.covariates), categories)


def _cells(
    found: CellSums, what: RowRecording, name: str, mark: Codes
) -> Iterator[tuple[Key, Doubles]]:
    first, _ = what.masks(name)
    rows = np.concatenate([found.n[:, first], found.w[:, first], found.a, found.b], axis=1)
    code = np.unique(mark)[found.cell] * what.folds + found.fold
    for group, cell, sums in zip(found.group.tolist(), code.tolist(), rows, strict=True):
        yield (CELL, name, group, cell), sums.copy()


def _moments(
    units: Units, scores: Sequence[EffectScores], groups: Groups | None, name: str
) -> Iterator[tuple[Key, Doubles]]:
    psi = [each.psi_a for each in scores] + [each.psi_b for each in scores]
    weighted = np.stack(psi) * units.weight
    codes = np.zeros(units.n, dtype=np.int64) if groups is None else groups.codes
    for group in np.unique(codes[codes >= 0]).tolist():
        mine = np.ascontiguousarray(weighted[:, codes == group])
        yield ("unit", name, group, 0), pack(mine @ mine.T)
        if units.cluster is not None:
            present, index = np.unique(units.cluster[codes == group], return_inverse=True)
            sums = np.stack([sum_by(index, row, len(present)) for row in mine])
            yield ("cluster", name, group, 0), pack(sums @ sums.T)
