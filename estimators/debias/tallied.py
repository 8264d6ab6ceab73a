"""Labelled rows as tallies and back: PPI's moments and the gate's residuals in the record.

A tally holds Sum w, Sum w^2, Sum w x, Sum w x^2 and Sum w x y. Variances of weighted means need
sums of w^2 x y, so that each value is tallied times its weight, in rows of weight one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.debias.labelled import ResidualSums
from estimators.debias.ppi import Sums
from estimators.tallies import Tally

Doubles = NDArray[np.float64]

WEIGHT, TRUTH, PREDICTION = "weight", "truth", "prediction"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tally belongs: the columns that say what it is about."""

    rep: int
    fold: int
    effect_id: str
    arm: str | None = None
    group_by: str | None = None
    group_value: str | None = None

    def tally(self, subject: str, n: int, sums: tuple[float, float, float]) -> Tally:
        """A tally in rows of weight one, with sums of x, x^2 and x y."""
        return Tally(
            self.rep, self.fold, self.effect_id, subject, self.arm, "raw", n, float(n), float(n),
            *sums, group_by=self.group_by, group_value=self.group_value,
        )  # fmt: skip


def powered_tallies(sums: Sums, rows: str, place: Place) -> list[Tally]:
    """PPI's sums as tallies ``ppi:<rows>:<column>``, a tally a column.

    Parameters
    ----------
    sums
        ``sums(Gamma(Y), Gamma(Yhat))`` of labelled rows, ``sums(Gamma(Yhat))`` of others.
    rows
        ``labelled`` or ``unlabelled``.
    """
    first, second = _about_zero(sums)
    names = _columns(len(first))
    last = len(first) - 1
    return [
        place.tally(
            f"ppi:{rows}:{name}", sums.n,
            (float(first[i]), float(second[i, i]), float(second[i, i + 1 if i < last else 0])),
        )
        for i, name in enumerate(names)
    ]  # fmt: skip


def powered_sums(tallies: Mapping[str, Tally], rows: str, *, labelled: bool) -> Sums:
    """PPI's sums from tallies by subject."""
    names = _columns(3 if labelled else 2)
    found = [tallies[f"ppi:{rows}:{name}"] for name in names]
    size = len(names)
    second = np.diag([each.xx for each in found])
    for i, each in enumerate(found):
        j = (i + 1) % size
        second[i, j] = second[j, i] = each.xy
    first = np.array([each.x for each in found])
    return Sums(found[0].n, np.zeros(size - 1), first, second)


def _columns(size: int) -> tuple[str, ...]:
    """Columns of the moments: each is tallied with the next, the last with the first."""
    return (WEIGHT, TRUTH, PREDICTION)[:size] if size > 2 else (WEIGHT, PREDICTION)  # noqa: PLR2004


def _about_zero(sums: Sums) -> tuple[Doubles, Doubles]:
    moved = np.eye(len(sums.first))
    moved[1:, 0] = sums.origin
    return moved @ sums.first, moved @ sums.second @ moved.T


def residual_tallies(sums: ResidualSums, candidate: str, places: Sequence[Place]) -> list[Tally]:
    """A candidate's residuals as tallies ``gate:<candidate>:weight`` and ``:residual``."""
    return [
        tally
        for g, place in enumerate(places)
        for tally in (
            place.tally(
                f"gate:{candidate}:weight", int(sums.n[g]),
                (float(sums.w[g]), float(sums.ww[g]), float(sums.ww[g])),
            ),
            place.tally(
                f"gate:{candidate}:residual", int(sums.n[g]),
                (float(sums.r[g]), float(sums.rr[g]), float(sums.wr[g])),
            ),
        )
    ]  # fmt: skip


def residuals_of(strata: Sequence[Mapping[str, Tally]], candidate: str) -> ResidualSums:
    """A candidate's residual sums from each stratum's tallies by subject."""
    weight = [each[f"gate:{candidate}:weight"] for each in strata]
    residual = [each[f"gate:{candidate}:residual"] for each in strata]
    return ResidualSums(
        np.array([each.n for each in weight], dtype=np.int64),
        np.array([each.x for each in weight]), np.array([each.xx for each in weight]),
        np.array([each.x for each in residual]), np.array([each.xx for each in residual]),
        np.array([each.xy for each in residual]),
    )  # fmt: skip
