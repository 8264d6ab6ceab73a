"""Small units with given nuisances, and what a check finds on them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from estimators.checks import IMPLEMENTATIONS, Finding
from estimators.effects import EffectSpec
from estimators.learners import Design
from estimators.tallies import Fitted, Tallies
from estimators.units import Units
from tests.estimators.samples import effect, from_arrays

Doubles = NDArray[np.float64]
ATE = effect("irm", "ate")
ATT = effect("irm", "att")


def units_of(
    d: list[float],
    y: list[float] | None = None,
    *,
    x: Mapping[str, list[float]] | None = None,
    categories: Mapping[int, tuple[str, ...]] | None = None,
    weight: list[float] | None = None,
    reps: int = 1,
) -> Units:
    """Units of lists, with folds that rotate."""
    n = len(d)
    columns = x or {"x": [0.0] * n}
    values = np.array(list(columns.values()), dtype=float).T
    return from_arrays(
        Design(values, tuple(columns), dict(categories or {})),
        {"d": np.array(d)},
        {"y": np.array(y if y is not None else [0.0] * n, dtype=float)},
        k=2,
        reps=reps,
        weight=None if weight is None else np.array(weight),
    )


def fitted_of(
    units: Units,
    spec: EffectSpec = ATE,
    nuisance: Mapping[str, Doubles] | None = None,
    baseline: Mapping[str, Doubles] | None = None,
    rep: int = 0,
) -> Fitted:
    """What cross-fitting hands to the checks, with nuisances given by name."""
    found = dict(nuisance or {})
    if "m" in found:
        found["m_clipped"] = np.clip(found["m"], spec.clip, 1 - spec.clip)
    y = units.outcomes[spec.outcome]
    return Fitted(spec, rep, ~np.isnan(y), y, units.treatments["d"], found, dict(baseline or {}))


def findings(check: str, units: Units, *fitted: Fitted) -> dict[str, Finding]:
    """The findings of a check by metric, through its tallies."""
    known = IMPLEMENTATIONS[check]
    rows = [row for each in fitted for row in known.tallies_of(units, each)]
    return {each.metric: each for each in known.run(Tallies(rows), fitted[0].effect)}
