"""Design: whether a treatment, or an instrument, occurs as its known propensity says.

Where p = P(D = 1 | X) is known, D - p has mean zero and is uncorrelated with every covariate. Each
is a score test, ``z = sum_c S_c / sqrt(G/(G-1) sum_c S_c^2)`` with S_c the sum over a cluster, of a
constant, of p itself and of the covariates; their p-values are Bonferroni's. A propensity that is
not the design's shrinks PLR (by p(1-p) / E[(D-p)^2]), and no fitted nuisance would show it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from estimators.checks.balance import LEVELS
from estimators.checks.by_cluster import by_cluster
from estimators.checks.result import Finding
from estimators.effects import EffectSpec
from estimators.tallies import Fitted, Tallies, Tally, tally
from estimators.units import Units

_SUBJECT = "design:"
_LEVEL, _PROPENSITY = "level", "propensity"
_NEEDED = 2
"""Clusters: a variance needs as many."""

Doubles = NDArray[np.float64]


def tallies_of(units: Units, fitted: Fitted) -> list[Tally]:
    """Sums by cluster of D - p, alone and times p and each covariate; once, not by repetition."""
    if fitted.effect.propensity is None or fitted.rep > 0:
        return []
    p = fitted.nuisance["m"]
    left = fitted.assigned - p
    names, columns = zip(*_instruments(units, fitted.rows, p), strict=True)
    rows, sums = by_cluster(units, fitted, *(left * each for each in columns))
    name = fitted.effect.effect_id
    return [
        each
        for subject, values in zip(names, sums, strict=True)
        for each in tally(rows, values, f"{_SUBJECT}{subject}", effect_id=name)
    ]


def _instruments(
    units: Units, rows: NDArray[np.bool_], p: Doubles
) -> Iterator[tuple[str, Doubles]]:
    """What D - p is uncorrelated with, ``(n,)`` each, about its mean; missing values are left out.

    Of a category, its most frequent levels.
    """
    yield _LEVEL, np.ones(units.n)
    yield _PROPENSITY, _centred(units, rows, p)
    design = units.design
    for j, name in enumerate(design.names):
        column = design.values[:, j].astype(np.float64)
        if j not in design.categories:
            yield f"covariate:{name}", _centred(units, rows, column)
            continue
        counts = np.bincount(column[rows & ~np.isnan(column)].astype(np.int64))
        for code in sorted(np.argsort(-counts, kind="stable")[:LEVELS].tolist()):
            label = f"covariate:{name}={design.categories[j][code]}"
            yield label, _centred(units, rows, (column == code).astype(np.float64))


def _centred(units: Units, rows: NDArray[np.bool_], column: Doubles) -> Doubles:
    seen = rows & ~np.isnan(column)
    if not seen.any() or np.ptp(column[seen]) == 0:
        return np.zeros(units.n)
    mean = float(np.average(column[seen], weights=units.weight[seen]))
    return np.where(seen, column - mean, 0.0)


def run(tallies: Tallies, effect: EffectSpec) -> list[Finding]:
    """The smallest p-value of all tests, times their number; every z is in the detail."""
    name = effect.effect_id
    z: dict[str, float] = {}
    for subject in tallies.subjects(_SUBJECT, name):
        of = tallies.find(subject, effect_id=name)
        if of is not None and of.n >= _NEEDED and of.xx > 0:
            spread = np.sqrt(of.xx * of.n / (of.n - 1.0))
            z[subject.removeprefix(_SUBJECT)] = float(of.x / spread)
    if not z:
        return [Finding(name, "p_value", None)]
    worst = max(z, key=lambda each: abs(z[each]))
    p_value = min(1.0, 2.0 * len(z) * float(stats.norm.sf(abs(z[worst]))))
    detail = {"treatment": effect.compared, "propensity": effect.propensity, "worst": worst, "z": z}
    return [Finding(name, "p_value", p_value, detail)]
