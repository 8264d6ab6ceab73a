"""From the second pass to the record's cells, moments and tallies, so that inference is one.

The record's cells hold one psi_a and one psi_b an effect, and of jointly fitted treatments the
J x J matrix: see `estimators.joint`. The second pass sums every product either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np

from estimators.catalog import applies
from estimators.cells import CellSums, Moment
from estimators.effects import EffectSpec, blocks, group_by_name
from estimators.gram.blas import Doubles, unpack
from estimators.gram.keyed import Keyed
from estimators.gram.pairs import PairShape, PairSums
from estimators.gram.record_pass import CELL, NO_GROUPS
from estimators.gram.shape import Index, ScoreShape
from estimators.joint import element_ids, places, triangle
from estimators.tallies import Tally

Figures = tuple[float, ...]


def positions(shape: ScoreShape) -> tuple[Index, Index, Index]:
    """By marginal effect, in the order of ``shape.effects``: ``v_j v_j``, ``v_j u``, system."""
    a, b, system = [], [], []
    for s, each in enumerate(shape.systems):
        own = np.diagonal(shape.a(s))
        a += [own] * len(each.outcomes)
        b += list(shape.b(s))
        system += [s] * (len(each.outcomes) * len(shape.treatments))
    return np.concatenate(a), np.concatenate(b), np.array(system, dtype=np.intp)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A repetition's sums, and the names of what they are about.

    Attributes
    ----------
    folds
        The merged sums of each fold.
    effects
        The effects to write, in the record's order.
    cell_rank, group_rank
        Codes of cells, and by grouping of groups, to their places among the sorted labels.
    group_values
        By grouping, the sorted labels.
    """

    rep: int
    shape: ScoreShape
    folds: Sequence[Keyed]
    effects: Sequence[EffectSpec]
    cell_rank: Index
    group_rank: Mapping[str, Index]
    group_values: Mapping[str, tuple[str, ...]]

    def single(self, grouping: str | None) -> list[EffectSpec]:
        """The effects of a grouping that are solved by themselves."""
        return [each for each in self.chosen(grouping) if each.joint is None]

    def joint(self, grouping: str | None) -> list[list[EffectSpec]]:
        """Those that are solved together, block by block."""
        return blocks(self.chosen(grouping))

    def block(self, effects: Sequence[EffectSpec]) -> tuple[Index, Index, int]:
        """Places of a block's `joint.triangle` and of its ``v u``, and its system."""
        _, b, system = self.place(effects)
        j = [self.shape.treatments.index(each.treatment) for each in effects]
        matrix = self.shape.a(int(system[0]))
        a = np.array([matrix[j[i], j[k]] for i, k in triangle(len(j))], dtype=np.intp)
        return a, b, int(system[0])

    def chosen(self, grouping: str | None) -> list[EffectSpec]:
        """The effects of a grouping; all for None."""
        if grouping is None:
            return list(self.effects)
        return [each for each in self.effects if grouping in map(group_by_name, each.by)]

    def place(self, effects: Sequence[EffectSpec]) -> tuple[Index, Index, Index]:
        """`positions` of some effects."""
        known = {pair: i for i, pair in enumerate(self.shape.effects)}
        at = [known[each.treatment, each.outcome] for each in effects]
        a, b, system = positions(self.shape)
        return a[at], b[at], system[at]

    def group(self, grouping: str | None, code: int) -> int:
        """Place of a group among the sorted labels; 0 for the totals."""
        return 0 if grouping is None else int(self.group_rank[grouping][code])


def cells(found: Recorded, grouping: str | None) -> CellSums | None:
    """Sums by fold, cell and group of the effects that are solved by themselves, if any."""
    chosen = found.single(grouping)
    if not chosen:
        return None
    return _cells(found, grouping, chosen, found.place(chosen))


def joint_cells(found: Recorded, grouping: str | None) -> list[CellSums]:
    """The same of each block that is solved together; `a` is its matrix, row by row."""
    sums = []
    for block in found.joint(grouping):
        a, b, system = found.block(block)
        whole = a[places(len(block)).ravel()]
        at = whole, b, np.full(len(block), system)
        sums.append(_cells(found, grouping, block, at))
    return sums


def _cells(
    found: Recorded,
    grouping: str | None,
    chosen: Sequence[EffectSpec],
    at: tuple[Index, Index, Index],
) -> CellSums:
    """Sums at the places of psi_a, psi_b and the systems; cells without a unit are left out."""
    a, b, system = at
    size, count = found.shape.size, len(found.shape.systems)
    rows = sorted(
        (
            ((fold, int(found.cell_rank[cell]), found.group(grouping, group)), sums)
            for fold, keyed in enumerate(found.folds)
            for group, cell, sums in keyed.of(CELL, grouping or NO_GROUPS)
            if bool((sums[size : size + count][system] > 0).any())
        ),
        key=lambda row: row[0],
    )
    codes = np.array([place for place, _ in rows], dtype=np.int64).reshape(-1, 3)
    sums = np.array([values for _, values in rows]).reshape(len(rows), size + 2 * count)
    return CellSums(
        tuple(each.effect_id for each in chosen),
        codes[:, 0],
        codes[:, 1],
        codes[:, 2],
        sums[:, size : size + count][:, system].astype(np.int64),
        sums[:, size + count :][:, system],
        -sums[:, a],
        sums[:, b],
    )


def moments(found: Recorded, grouping: str | None) -> list[Moment]:
    """Second moments of units, and of clusters where they were summed, by group."""
    a, b, ids = _elements(found, grouping)
    total = reduce(add, found.folds)
    rows: list[Moment] = []
    for level in ("unit", "cluster"):
        parts = {
            found.group(grouping, group): packed
            for group, _, packed in total.of(level, grouping or NO_GROUPS)
        }
        for group in sorted(parts):
            whole = np.pad(unpack(parts[group], found.shape.size), (0, 1))
            rows += _moments(whole, a, b, ids, level=level, group=group)
    return rows


def _elements(found: Recorded, grouping: str | None) -> tuple[Index, Index, list[str]]:
    """Places of psi_a and psi_b of effects and of blocks' elements; the last place holds zeros."""
    chosen = found.single(grouping)
    a, b, _ = found.place(chosen)
    ids, all_a, all_b = [each.effect_id for each in chosen], [a], [b]
    for block in found.joint(grouping):
        matrix, vector, _ = found.block(block)
        ids += element_ids([each.effect_id for each in block])
        nothing = np.full(len(matrix) - len(vector), found.shape.size, dtype=np.intp)
        all_a.append(matrix)
        all_b += [vector, nothing]
    return np.concatenate(all_a), np.concatenate(all_b), ids


def _moments(
    whole: Doubles, a: Index, b: Index, ids: Sequence[str], *, level: str, group: int
) -> Iterator[Moment]:
    aa, ab, ba, bb = (whole[np.ix_(i, j)].tolist() for i, j in ((a, a), (a, b), (b, a), (b, b)))
    for i, first in enumerate(ids):
        for k in range(i, len(ids)):
            yield Moment(group, level, first, ids[k], aa[i][k], -ab[i][k], -ba[i][k], bb[i][k])


def tallies(found: Recorded, pairs: PairShape | None) -> list[Tally]:
    """What the checks read: naive figures, clusters, gaps (`pairs`), errors of the nuisances.

    The same rows as `estimators.checks` and `estimators.naive` tally from units; those about no
    single effect come once.
    """
    rows: dict[tuple[object, ...], Tally] = {}
    for effect in found.effects:
        every = [*_pairwise(found, effect, pairs)] if pairs else []
        for row in [*every, *_losses(found, effect)]:
            key = (row.subject, row.effect_id, row.arm, row.fold, row.group_by, row.group_value)
            rows.setdefault(key, row)
    return list(rows.values())


def _pairwise(found: Recorded, effect: EffectSpec, pairs: PairShape) -> Iterator[Tally]:
    names = (NO_GROUPS, *map(group_by_name, effect.by))
    for name in names:
        for group, value in _groups(found, name):
            for fold, keyed in enumerate(found.folds):
                sums = _at(keyed, "pairs", name, group, pairs.size)
                for row in _naive(effect, PairSums(pairs, sums)):
                    yield replace(row, fold=fold, group_by=name or None, group_value=value)
                counts = keyed.parts.get(("clusters", name, group, 0))
                if counts is not None:
                    system = int(found.place([effect])[2][0])
                    row = _tally("clusters", (counts[system],) * 6, effect.effect_id)
                    yield replace(row, fold=fold, group_by=name or None, group_value=value)
    for fold, keyed in enumerate(found.folds):
        sums = _at(keyed, "pairs", NO_GROUPS, 0, pairs.size)
        for row in _gaps(effect, PairSums(pairs, sums)):
            yield replace(row, fold=fold)


def _groups(found: Recorded, name: str) -> Iterator[tuple[int, str | None]]:
    """Code and label of a grouping's groups, by label."""
    if not name:
        yield 0, None
        return
    code = np.argsort(found.group_rank[name])
    for place, value in enumerate(found.group_values[name]):
        yield int(code[place]), value


def _at(keyed: Keyed, kind: str, name: str, group: int, size: tuple[int, int]) -> Doubles:
    values = keyed.parts.get((kind, name, group, 0))
    return np.zeros(size) if values is None else values


def _naive(effect: EffectSpec, sums: PairSums) -> Iterator[Tally]:
    if effect.treatment_kind == "binary":
        for arm, figures in sums.arms(effect.treatment, effect.outcome):
            yield _tally("outcome", figures, effect.effect_id, arm)
        return
    for subject, figures in sums.dose(effect.treatment, effect.outcome):
        yield _tally(subject, figures, effect.effect_id)


def _gaps(effect: EffectSpec, sums: PairSums) -> Iterator[Tally]:
    """Attrition, and missing covariates, by arm."""
    drops = effect.drop_missing
    if applies("attrition", effect.method, effect.treatment_kind, drops=drops):
        subject = f"attrition:{effect.treatment}:{effect.outcome}"
        column = sums.shape.outcome(effect.outcome, "missing")
        for arm, figures in sums.share(effect.treatment, column):
            yield _tally(subject, figures, None, arm)
    if applies("missingness", effect.method, effect.treatment_kind, drops=drops):
        for name in sums.shape.covariates:
            subject = f"missing:{effect.treatment}:{name}"
            for arm, figures in sums.share(effect.treatment, sums.shape.absent(name)):
                yield _tally(subject, figures, None, arm)


def _losses(found: Recorded, effect: EffectSpec) -> Iterator[Tally]:
    """Squared errors of the two nuisances and of the constants, out of fold."""
    system = int(found.place([effect])[2][0])
    treatments = len(found.shape.treatments)
    rows = {
        "m": found.shape.treatments.index(effect.treatment),
        "l": treatments + found.shape.systems[system].outcomes.index(effect.outcome),
    }
    for fold, keyed in enumerate(found.folds):
        sums = keyed.parts.get(("loss", NO_GROUPS, system, 0))
        if sums is None:
            continue
        loss, counts = sums[:-3].reshape(4, -1), sums[-3:].tolist()
        for name, row in rows.items():
            for subject, at in ((f"loss:{name}", 0), (f"loss_constant:{name}", 2)):
                x, xx = float(loss[at, row]), float(loss[at + 1, row])
                tally = _tally(subject, (*counts, x, xx, xx), effect.effect_id)
                yield replace(tally, fold=fold, rep=found.rep)


def _tally(subject: str, figures: Figures, effect_id: str | None, arm: str | None = None) -> Tally:
    n, w, ww, x, xx, xy = (float(each) for each in figures)
    return Tally(0, 0, effect_id, subject, arm, "raw", round(n), w, ww, x, xx, xy)
