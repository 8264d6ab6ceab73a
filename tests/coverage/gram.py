"""Coverage with Gram nuisances: the engine's own fits, on rows in memory.

``OMP_NUM_THREADS=1 python -m tests.coverage.gram`` goes on where an earlier run stopped, and
writes ``results/gram.csv``, ``results/gram_summary.csv`` and ``results/gram.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from estimators.crossfit import Plan, Sums, summarise
from estimators.effects import EffectSpec
from estimators.gram.accumulate import accumulate
from estimators.gram.by_row import Arm, ByRow, Fits, arms_of, in_arm, propensities_of, targets_of
from estimators.gram.columns import Rows
from estimators.gram.layout import Layout, lay_out
from estimators.gram.logistic import fit_logistic
from estimators.gram.partials import by_fold
from estimators.gram.pinning import Choice, pin, smallest
from estimators.gram.ridge import PENALTIES
from estimators.nuisances import Target
from estimators.units import Units
from tests.coverage import models
from tests.coverage.designs import WORLDS, Doubles, truth
from tests.coverage.grid import METHODS as BINARY
from tests.coverage.grid import Cell, Family, learners_of, main
from tests.estimators.samples import contrast, effect

ARMS = ("apo_mean", "apo_ate", "gate_low", "gate_high")
METHODS = (*BINARY, *ARMS)
"""What the engine takes: neither an instrument nor weights by overlap."""


def effects(config: dict[str, Any], cell: Cell) -> tuple[tuple[EffectSpec, ...], dict[str, str]]:
    """The effects of a cell, and each method's effect id."""
    chosen = learners_of(config, cell)
    specs = (
        effect("plr", "slope", **chosen),
        effect("irm", "ate", outcome="h", by=(("g",),), **chosen),
        effect("irm", "att", outcome="h", **chosen),
        contrast("c", None, outcome="v", **chosen),
        contrast("c", "a", outcome="v", **chosen),
    )
    named = dict(zip(BINARY, (each.effect_id for each in specs), strict=False))
    return specs, named | {name: models.METHODS[name] for name in ARMS}


def target(cell: Cell, method: str) -> float:
    """The estimand."""
    if method in BINARY:
        return truth(WORLDS[cell.world], BINARY[method][0])
    return models.target(cell, method)


def fit(units: Units, specs: tuple[EffectSpec, ...], _salt: str) -> list[Sums]:
    """Nuisances by the Gram engine; scores and sums by the path of rows."""
    return [summarise(units, *predictions(units, specs))]


def predictions(
    units: Units, specs: tuple[EffectSpec, ...]
) -> tuple[Plan, int, dict[Target, Doubles]]:
    """The plan, its only repetition, and every nuisance out of fold."""
    used = units.row_masks(specs)
    plan = Plan(specs, targets_of(specs, used), used, (), {})
    learner = specs[0].outcome_learner
    penalties = (learner["penalty"],) if "penalty" in learner else PENALTIES
    rows = _rows(units, specs)
    sample = smallest([rows])
    basis = pin(sample.covariates, Choice(segments=learner["segments"]))
    layout = lay_out(basis, sample, folds=units.k, depth=0)
    fitted = _fitted(layout, rows, _targets(specs, used), penalties)
    return plan, 0, fitted.predict(layout, rows)


def _targets(specs: tuple[EffectSpec, ...], used: Mapping[str, str]) -> list[Target]:
    """Nuisances of all effects, each once; `used` are the row masks of outcomes."""
    found = (each for names in targets_of(specs, used).values() for each in names.values())
    return list(dict.fromkeys(found))


def _rows(units: Units, specs: tuple[EffectSpec, ...]) -> Rows:
    """Units as the engine's rows, their numbers for hashes."""
    values = np.asarray(units.design.values, dtype=np.float64)
    number = np.arange(units.n, dtype=np.uint64)
    targets = _targets(specs, units.row_masks(specs))
    used = {each.variable for each in targets} | {each.arm[0] for each in targets if each.arm}
    return Rows(
        dict(zip(units.design.names, np.ascontiguousarray(values.T), strict=True)),
        {name: column for name, column in units.treatments.items() if name in used},
        {name: column for name, column in units.outcomes.items() if name in used},
        units.weight,
        units.fold[:, 0],
        number,
        number if units.cluster is None else units.cluster.astype(np.uint64),
    )


def _fitted(layout: Layout, rows: Rows, targets: list[Target], penalties: Sequence[float]) -> ByRow:
    """Arms' Grams, ridges, and logistic propensities at the ridges' penalties."""
    arms: list[Arm | None] = [None, *arms_of(targets)]
    sums = {arm: by_fold(layout, accumulate(layout, in_arm(rows, arm))) for arm in arms}
    fits = Fits(layout, sums, targets, penalties)
    found = {}
    for mask, names in propensities_of(targets, layout).items():
        penalty = fits.penalty(mask, names)
        found[mask] = fit_logistic(layout, sums[None], lambda: [rows], names, penalty)
    return fits.finish(found)


FAMILY = Family("gram", METHODS, effects, models.draw, target, fit)

if __name__ == "__main__":
    sys.exit(main(family=FAMILY))
