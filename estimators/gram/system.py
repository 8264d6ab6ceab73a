"""Regression systems: which Grams share their rows, cut out of the sums.

Outcomes that are always observed share one system. An outcome with rows of its own has a system
to itself: its rows are all rows less those where it is missing, which cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from estimators.gram.blas import Doubles, unpack
from estimators.gram.layout import Layout
from estimators.gram.partials import Sums


@dataclass(frozen=True, slots=True)
class System:
    """Outcomes that are estimated on the same rows.

    Attributes
    ----------
    rows
        The outcome whose observed rows are used; empty for all rows.
    outcomes
        Names.
    """

    rows: str
    outcomes: tuple[str, ...]


def systems(layout: Layout) -> tuple[System, ...]:
    """All systems of a layout: complete outcomes first, then one for each with its own rows."""
    complete = tuple(name for name in layout.outcomes if name not in layout.own_rows)
    shared = (System("", complete),) if complete else ()
    return (*shared, *(System(name, (name,)) for name in layout.own_rows))


@dataclass(frozen=True, slots=True)
class Gram:
    """The Gram matrix of a system: p regressors (the constant first), then t targets.

    Attributes
    ----------
    n
        Units.
    values
        ``(p + t, p + t)``, symmetric; targets are the J treatments, then the system's outcomes.
    p
        Regressors.
    """

    n: int
    values: Doubles
    p: int

    @property
    def weight(self) -> float:
        """Sum of the weights."""
        return float(self.values[0, 0])

    @property
    def targets(self) -> int:
        """Number of targets, t."""
        return len(self.values) - self.p

    def __add__(self, other: Gram) -> Gram:
        return Gram(self.n + other.n, self.values + other.values, self.p)


def gram_of(layout: Layout, sums: Sums, system: System) -> Gram:
    """Cut a system's Gram out of some sums."""
    r = layout.with_treatments
    whole = unpack(sums.gram, layout.q)
    n = sums.n
    if system.rows:
        j = layout.own_rows.index(system.rows)
        whole[:r, :r] -= unpack(sums.missing[j], r)
        n -= int(sums.n_missing[j])
    kept = [*range(r), *(r + layout.outcomes.index(name) for name in system.outcomes)]
    return Gram(n, whole[np.ix_(kept, kept)], layout.p)


def without(folds: Sequence[Gram], *left_out: int) -> Gram:
    """The Gram of all folds but some.

    It is the sum of the others rather than the total less those: equal in exact arithmetic,
    without the cancellation, and K is small.
    """
    kept = [gram for fold, gram in enumerate(folds) if fold not in left_out]
    total = kept[0]
    for gram in kept[1:]:
        total = total + gram
    return total
