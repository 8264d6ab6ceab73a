"""Instrument strength: the F statistic of the first stage, robust and clustered.

The first stage is ``pi = sum a / sum b``: for PLIV a = (Z-m)(D-r) and b = (Z-m)^2, so that F is
that of the residuals' regression (with one instrument, the effective F); for IIVM a is the AIPW of
D on Z and b = 1, so that pi is the share of compliers. ``F = pi^2 / V(pi)``, V over clusters.

Sources: Montiel Olea and Pflueger 2013, *A robust test for weak instruments*; the threshold of 10
is Staiger and Stock's (1997).
"""

from __future__ import annotations

import numpy as np

from estimators.checks.by_cluster import by_cluster
from estimators.checks.result import Finding
from estimators.effects import EffectSpec
from estimators.scores import score
from estimators.tallies import Fitted, Tallies, Tally, tally
from estimators.units import Units

_NEEDED = 2
"""Clusters: a variance needs as many."""


def tallies_of(units: Units, fitted: Fitted) -> list[Tally]:
    """Sums a and b by cluster (by unit, where there is none), and their second moments."""
    rows, (a, b) = by_cluster(units, fitted, *_first_stage(fitted))
    name = fitted.effect.effect_id
    return [
        *tally(rows, a, "first_stage:a", effect_id=name, y=b),
        *tally(rows, b, "first_stage:b", effect_id=name),
    ]


def _first_stage(fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    used, z = fitted.used, fitted.assigned
    psi_a, _ = score(fitted.effect, fitted.y, fitted.d, used, z)
    v = z - used["m"]
    return -psi_a, v * v if fitted.effect.method == "pliv" else np.ones(len(z))


def run(tallies: Tallies, effect: EffectSpec) -> list[Finding]:
    """F of the first stage; the coefficient and its standard error are in the detail."""
    name = effect.effect_id
    a, b = (tallies.find(f"first_stage:{each}", effect_id=name) for each in "ab")
    if a is None or b is None or a.n < _NEEDED or b.x <= 0:
        return [Finding(name, "first_stage_f", None)]
    reps = a.w / a.n  # sums are over repetitions, n is not
    coefficient = a.x / b.x
    meat = max(a.xx - 2.0 * coefficient * a.xy + coefficient**2 * b.xx, 0.0) * a.n / (a.n - 1.0)
    se = float(np.sqrt(meat * reps)) / b.x
    detail = {"instrument": effect.instrument, "coefficient": coefficient, "se": se}
    # Where all do as assigned nothing but rounding is left, and F is as large as can be told.
    told = max(se, float(np.finfo(np.float64).eps) * abs(coefficient))
    return [Finding(name, "first_stage_f", (coefficient / told) ** 2 if told > 0 else None, detail)]
