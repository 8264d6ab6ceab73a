"""Counts of rows that say, before any fit, which effects cannot be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.effects import EffectSpec
from estimators.gram.blas import Doubles

Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Census:
    """Counts that add up over batches, in any order.

    Attributes
    ----------
    rows
        Row masks: empty for all rows, then outcomes with rows of their own, S of them.
    treatments
        Names, J.
    observed
        ``(R, K, S)`` units by repetition, fold and mask.
    arms
        ``(R, K, S, J, 2)`` units with a treatment of 0 and of 1.
    low, high
        ``(S, J)`` smallest and largest value of a treatment.
    """

    rows: tuple[str, ...]
    treatments: tuple[str, ...]
    observed: Longs
    arms: Longs
    low: Doubles
    high: Doubles

    @staticmethod
    def of(
        treatments: Mapping[str, Doubles],
        outcomes: Mapping[str, Doubles],
        own_rows: Sequence[str],
        fold: NDArray[np.integer[Any]],
        k: int,
    ) -> Census:
        """Count a batch.

        Parameters
        ----------
        fold
            ``(n, R)``.
        """
        masks = ["", *own_rows]
        n, reps = fold.shape
        seen = [~np.isnan(outcomes[name]) if name else np.ones(n, dtype=np.bool_) for name in masks]
        shape = (reps, k, len(masks))
        observed = np.zeros(shape, dtype=np.int64)
        arms = np.zeros((*shape, len(treatments), 2), dtype=np.int64)
        low = np.full((len(masks), len(treatments)), np.inf)
        high = -low
        for s, mask in enumerate(seen):
            for rep in range(reps):
                observed[rep, :, s] = np.bincount(fold[mask, rep], minlength=k)
            for j, d in enumerate(treatments.values()):
                if mask.any():
                    low[s, j], high[s, j] = d[mask].min(), d[mask].max()
                for arm in (0, 1):
                    mine = mask & (d == arm)
                    for rep in range(reps):
                        arms[rep, :, s, j, arm] = np.bincount(fold[mine, rep], minlength=k)
        return Census(tuple(masks), tuple(treatments), observed, arms, low, high)

    def __add__(self, other: Census) -> Census:
        return Census(
            self.rows,
            self.treatments,
            self.observed + other.observed,
            self.arms + other.arms,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    @property
    def n(self) -> int:
        """Units."""
        return int(self.observed[0, :, 0].sum())

    def units(self, effect: EffectSpec) -> int:
        """Units that an effect is estimated on."""
        return int(self.observed[0, :, self._mask(effect)].sum())

    def _mask(self, effect: EffectSpec) -> int:
        return self.rows.index(effect.outcome) if effect.outcome in self.rows else 0

    def fault(self, effect: EffectSpec) -> str | None:
        """Why an effect cannot be had, None where it can be tried.

        ``missing_outcome`` (a fold's training rows have fewer than K), ``constant_treatment``,
        ``empty_arm`` (of a binary treatment, likewise).
        """
        s, j, k = self._mask(effect), self.treatments.index(effect.exposure), self.arms.shape[1]
        if _training(self.observed[:, :, s]) < k:
            return "missing_outcome"
        if self.low[s, j] == self.high[s, j]:
            nobody = effect.arm is not None and self.high[s, j] == 0.0
            return "empty_arm" if nobody else "constant_treatment"
        if min((self._arm(s, *arm) for arm in effect_arms(effect)), default=k) < k:
            return "empty_arm"
        return None

    def _arm(self, mask: int, exposure: str, level: int) -> int:
        return _training(self.arms[:, :, mask, self.treatments.index(exposure), level])


def effect_arms(effect: EffectSpec) -> tuple[tuple[str, int], ...]:
    """Arms that an effect needs units of, as exposure and level; none of a dose."""
    if effect.treatment_kind == "binary":
        return ((effect.treatment, 0), (effect.treatment, 1))
    return tuple((name, 1) for name in effect.exposures if effect.arm is not None)


def _training(counts: Longs) -> int:
    """Smallest training set, from ``(R, K)`` counts."""
    return int((counts.sum(axis=1, keepdims=True) - counts).min())
