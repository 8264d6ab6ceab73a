"""Figures of a fixed data set, to be regenerated where numbers are meant to change.

``python -m tests.estimators.golden`` writes ``golden.json``.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from conf.keys import NUMERICS
from estimators.checks import IMPLEMENTATIONS, applicable
from estimators.checks.clusters import leverage
from estimators.effects import EffectSpec
from estimators.tallies import Tallies
from estimators.units import Units
from tests.estimators.samples import (
    BOOSTED,
    CONSTANT,
    Size,
    bucket,
    build,
    crossfit,
    effect,
    estimates,
    family_sums,
    trio,
)

PATH = Path(__file__).with_suffix(".json")
STAGES = ("crossfit", "estimate")
LIBRARIES = ("numpy", "scipy", "scikit-learn", "xgboost")
FIGURES = ("theta", "se", "se_hc0", "ci_low", "p_value", "p_adjusted", "band_high")


def worlds() -> dict[str, tuple[Units, tuple[EffectSpec, ...]]]:
    """Small data with everything in it: repetitions, clusters, weights, gaps, groups, buckets."""
    size = Size(400, k=4, reps=3, clusters=40, groups=3)
    mixed = build(1, size, weighted=True, missing=0.1, category=True, missing_outcome=0.1)
    dose = effect(treatment="t", outcome="s", drop_missing=True, by=(("g",),))
    linear = (*trio(by=(("g",),)), *trio(outcome="z"), dose)
    trees = {"outcome_learner": BOOSTED, "treatment_learner": BOOSTED | {"subsample": 0.8}}
    means = {"outcome_learner": CONSTANT, "treatment_learner": CONSTANT}
    return {
        "linear": (mixed, linear),
        "xgboost": (mixed, (*trio(**trees), *trio(outcome="z", **trees))),
        "constant": (bucket(build(2, Size(300, clusters=70))), trio(**means)),
    }


def figures(units: Units, specs: tuple[EffectSpec, ...]) -> dict[str, dict[str, float | None]]:
    """Estimates by effect id, and the checks' findings by ``check.metric``."""
    _, sums = crossfit(units, specs, salt="golden")
    found = {
        name: {figure: getattr(each, figure) for figure in FIGURES}
        for name, each in estimates(units, sums).items()
    }
    tallies = Tallies([row for each in sums for row in each.tallies])
    tallies = tallies.with_rows(leverage(family_sums(units, sums)[None]))
    for spec in specs:
        for check in applicable(spec):
            for each in IMPLEMENTATIONS[check].run(tallies, spec):
                name = each.effect_id or "study"
                found.setdefault(name, {})[f"{check}.{each.metric}"] = each.value
    return found


def libraries() -> dict[str, str]:
    """Versions that the crossfit key names beside its integer."""
    return {name: version(name) for name in LIBRARIES}


def main() -> None:
    """Write the figures as they are now."""
    golden = {
        "numerics": {stage: NUMERICS[stage] for stage in STAGES},
        "libraries": libraries(),
        "figures": {name: figures(*world) for name, world in worlds().items()},
    }
    PATH.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
