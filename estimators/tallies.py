"""Tallies: what the checks need and scores do not hold, as sums that merge in any grouping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.effects import EffectSpec
from estimators.scores import arm_weights
from estimators.sums import sum_by
from estimators.units import Units

Doubles = NDArray[np.float64]
BINS = 50


@dataclass(frozen=True, slots=True)
class Tally:
    """One row of sums; names as in the record's table ``tallies``.

    Attributes
    ----------
    w, ww, x, xx, xy
        Sums of w, w^2, w x, w x^2 and w x y.
    hist
        Counts of x in `BINS` equal bins of [0, 1], empty where x is no probability.
    """

    rep: int
    fold: int
    effect_id: str | None
    subject: str
    arm: str | None
    weighting: str
    n: int
    w: float
    ww: float
    x: float
    xx: float
    xy: float
    hist: tuple[int, ...] = field(default=())
    group_by: str | None = None
    group_value: str | None = None


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a check may tally about one effect in one repetition.

    Attributes
    ----------
    rows
        ``(n,)`` bool: the units that the effect is estimated on.
    y, d
        Outcome and exposure (the treatment, or an arm's indicator), ``(n,)``.
    nuisance
        Out-of-fold predictions by name; ``m`` as predicted, ``m_clipped`` as used.
    baseline
        What a constant predicts out of fold, by the same names: the training rows' mean.
    z
        The instrument; of a contrast of arms, the control arm's indicator.
    """

    effect: EffectSpec
    rep: int
    rows: NDArray[np.bool_]
    y: Doubles
    d: Doubles
    nuisance: dict[str, Doubles]
    baseline: dict[str, Doubles]
    z: Doubles | None = None

    @property
    def assigned(self) -> Doubles:
        """What ``m`` predicts: the instrument where there is one, else the exposure."""
        return self.d if self.z is None or self.effect.instrument is None else self.z

    @property
    def arms(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Units of the two arms that are compared, ``(n,)``, as `EffectSpec.arms` names them."""
        if self.effect.arm is None:
            return self.assigned == 0, self.assigned == 1
        everyone = np.ones(len(self.d), dtype=np.bool_)
        return everyone if self.z is None else self.z == 1, self.d == 1

    @property
    def used(self) -> dict[str, Doubles]:
        """Nuisances as the score takes them: propensities clipped where it divides by them."""
        clipped = {name: f"{name}_clipped" for name in ("m", "m0")}
        return {
            name: self.nuisance.get(clipped.get(name, name), values)
            for name, values in self.nuisance.items()
        }

    @property
    def weights(self) -> tuple[Doubles, Doubles]:
        """Weights that make the two arms alike, ``(n,)``; see `scores.arm_weights`."""
        of = self.used
        found = arm_weights(self.effect.estimand, of["m"], of.get("m0"))
        return np.broadcast_to(found[0], len(self.d)), np.broadcast_to(found[1], len(self.d))


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows that are tallied together: row numbers, their folds and weights.

    Attributes
    ----------
    index, fold
        ``(m,)`` row numbers, ascending, and their folds.
    weight
        ``(m,)`` weights, by default the sampling weights.
    """

    rep: int
    k: int
    index: NDArray[np.int64]
    fold: NDArray[np.int64]
    weight: Doubles

    def narrow(self, kept: NDArray[np.bool_]) -> Selection:
        """The selection's rows where `kept`, ``(m,)``."""
        return Selection(self.rep, self.k, self.index[kept], self.fold[kept], self.weight[kept])

    def reweight(self, weight: Doubles) -> Selection:
        """The same rows with other weights, ``(n,)`` over all units."""
        return Selection(self.rep, self.k, self.index, self.fold, weight[self.index])


def selection(units: Units, rep: int, rows: NDArray[np.bool_]) -> Selection:
    """Select the units where `rows`, ``(n,)``."""
    index = np.flatnonzero(rows)
    fold = units.fold[index, rep].astype(np.int64)
    return Selection(rep, units.k, index, fold, units.weight[index])


def tally(
    rows: Selection,
    x: Doubles,
    subject: str,
    *,
    effect_id: str | None = None,
    arm: str | None = None,
    weighting: str = "raw",
    y: Doubles | None = None,
    histogram: bool = False,
    group_by: str | None = None,
    group_value: str | None = None,
) -> list[Tally]:
    """Tally `x` (and its product with `y`), values of the selected rows: a row a fold."""
    n = np.bincount(rows.fold, minlength=rows.k)
    other = x if y is None else y
    w, wx = rows.weight, rows.weight * x
    columns = w, w * w, wx, wx * x, wx * other
    sums = np.stack([sum_by(rows.fold, column, rows.k) for column in columns], axis=1).tolist()
    bins = np.clip((x * BINS).astype(np.int64), 0, BINS - 1) if histogram else None
    return [
        Tally(
            rows.rep, f, effect_id, subject, arm, weighting, int(n[f]),
            sums[f][0], sums[f][1], sums[f][2], sums[f][3], sums[f][4],
            () if bins is None
            else tuple(np.bincount(bins[rows.fold == f], minlength=BINS).tolist()),
            group_by, group_value,
        )
        for f in range(rows.k)
    ]  # fmt: skip


class Tallies:
    """Tallies of a run, found by what they are about; folds and repetitions are merged.

    Shares and means keep their meaning when repetitions are added up, since every sum is
    multiplied alike; counts are divided by `repetitions`.

    Attributes
    ----------
    facts
        What was found before any fit, by what it is about: of predicted outcomes their gate.
    """

    def __init__(self, rows: Sequence[Tally], facts: Mapping[str, Any] | None = None) -> None:
        self.facts: Mapping[str, Any] = facts or {}
        self._rows: dict[tuple[str | None, ...], list[Tally]] = {}
        for row in sorted(rows, key=lambda each: (each.rep, each.fold)):
            self._rows.setdefault(
                (row.subject, row.effect_id, row.arm, row.weighting, row.group_by, row.group_value),
                [],
            ).append(row)

    def with_rows(self, rows: Sequence[Tally]) -> Tallies:
        """These and some more."""
        mine = [each for found in self._rows.values() for each in found]
        return Tallies([*mine, *rows], self.facts)

    def find(
        self,
        subject: str,
        *,
        effect_id: str | None = None,
        arm: str | None = None,
        weighting: str = "raw",
        group: tuple[str | None, str | None] = (None, None),
    ) -> Tally | None:
        """The merged tally, None where there is none."""
        found = self._rows.get((subject, effect_id, arm, weighting, *group))
        return merge(found) if found else None

    def subjects(self, prefix: str, effect_id: str | None = None) -> list[str]:
        """Subjects that begin with `prefix`, in the order they were written."""
        names = (
            key[0]
            for key in self._rows
            if key[0] and key[0].startswith(prefix) and key[1] == effect_id
        )
        return list(dict.fromkeys(names))


def merge(found: Sequence[Tally]) -> Tally:
    """Add tallies of one subject over folds and repetitions; `n` is per repetition."""
    first, reps = found[0], len({each.rep for each in found})
    hist = tuple(sum(column) for column in zip(*(each.hist for each in found), strict=True))
    return Tally(
        first.rep, -1, first.effect_id, first.subject, first.arm, first.weighting,
        sum(each.n for each in found) // reps, sum(each.w for each in found),
        sum(each.ww for each in found), sum(each.x for each in found),
        sum(each.xx for each in found), sum(each.xy for each in found), hist,
        first.group_by, first.group_value,
    )  # fmt: skip
