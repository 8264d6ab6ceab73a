"""The unit table as arrays: what cross-fitting and the checks work on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.effects import EffectSpec, crossed_label, group_by_name
from estimators.learners import Design

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Groups:
    """A grouping of the units.

    Attributes
    ----------
    codes
        ``(n,)`` int64 index into `values`; -1 where a grouping column is NULL.
    values
        The groups' labels, sorted.
    """

    codes: NDArray[np.int64]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Units:
    """Units in a fixed order (by unit id), n of them.

    Attributes
    ----------
    design
        Covariates.
    treatments, outcomes
        ``(n,)`` float64 by name; an outcome is NaN where it is missing. Among the treatments are
        the indicators of a categorical one's arms (``dose=high``) and the instruments.
    weight
        ``(n,)`` sampling weights.
    fold
        ``(n, repetitions)`` fold numbers.
    cell, cells
        ``(n,)`` index into the cell ids; a cell is a cluster, a unit, or a bucket of clusters.
    cluster, clusters
        ``(n,)`` cluster index and the number of clusters; None where none is declared.
    bucketed
        Cells are hash buckets of clusters (or of units), so moments must carry the variance.
    groups
        Groupings by name.
    place
        ``(n,)`` hash of the cluster's id (the unit's, without clusters), which draws inside a
        training fold follow; None where no learner draws.
    unit
        ``(n,)`` hash of the unit's id, likewise.
    propensities
        ``(n,)`` known probabilities by column.
    folds
        Number of folds, where the units may not fill them all; None: as many as there are.
    """

    design: Design
    treatments: Mapping[str, Doubles]
    outcomes: Mapping[str, Doubles]
    weight: Doubles
    fold: NDArray[np.int16]
    cell: NDArray[np.int64]
    cells: tuple[str, ...]
    cluster: NDArray[np.int64] | None
    clusters: int | None
    bucketed: bool
    groups: Mapping[str, Groups]
    place: NDArray[np.uint64] | None = None
    unit: NDArray[np.uint64] | None = None
    propensities: Mapping[str, Doubles] = field(default_factory=dict)
    folds: int | None = None

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.weight)

    @property
    def k(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1 if self.folds is None else self.folds

    def for_fitting(self) -> Units:
        """The same units without what only sums need: what travels to the workers."""
        nothing, weight = np.empty(0, dtype=np.int64), fitting_weight(self.weight)
        bare = replace(self, cell=nothing, cells=(), cluster=None, groups={}, propensities={})
        return bare if weight is self.weight else replace(bare, weight=weight)

    def column(self, name: str) -> Doubles:
        """A treatment or an outcome by name."""
        return self.treatments[name] if name in self.treatments else self.outcomes[name]

    def row_masks(self, effects: tuple[EffectSpec, ...]) -> dict[str, str]:
        """The row mask of each outcome: its own name where rows are missing, else empty.

        A corrected outcome has the mask of the outcome, so that their treatment models are one.
        """
        outcomes = {effect.column: effect.outcome for effect in effects}
        return {
            column: outcomes[column] if bool(np.isnan(self.outcomes[column]).any()) else ""
            for column in sorted(outcomes)
        }

    def rows(self, mask: str) -> NDArray[np.bool_]:
        """Rows of a mask: those where the outcome `mask` is observed; all for the empty mask."""
        return ~np.isnan(self.outcomes[mask]) if mask else np.ones(self.n, dtype=np.bool_)


def fitting_weight(weight: Doubles) -> Doubles:
    """Weights as learners take them, ``(n,)``: divided by their mean where that is below one.

    A penalty and the least weight of a leaf count rows, so that weights which add up to one would
    leave a learner nothing to find. Weights above count copies of rows, and stay as they are.
    """
    mean = float(weight.mean())
    return weight if mean >= 1.0 else np.asarray(weight / mean, dtype=np.float64)


def groupings(effects: tuple[EffectSpec, ...]) -> tuple[tuple[str, ...], ...]:
    """All groupings that the effects ask for, each once, in a fixed order."""
    return tuple(sorted({by for effect in effects for by in effect.by}))


def cross(columns: Mapping[str, NDArray[Any]], by: tuple[str, ...]) -> tuple[str, Groups]:
    """Cross label columns (object arrays of str or None) into one grouping."""
    labels = zip(*(columns[name] for name in by), strict=True)
    joined = np.array(
        [None if any(each is None for each in row) else crossed_label(row) for row in labels],
        dtype=object,
    )
    present = joined != np.array(None)
    values, inverse = np.unique(joined[present].astype(str), return_inverse=True)
    codes = np.full(len(joined), -1, dtype=np.int64)
    codes[present] = inverse
    return group_by_name(by), Groups(codes, tuple(values.tolist()))
