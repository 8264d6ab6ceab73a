"""Design: known propensities that are the treatment's, and those that are not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from estimators.catalog import CHECKS
from estimators.checks import IMPLEMENTATIONS, Finding, applicable
from estimators.effects import EffectSpec
from estimators.tallies import Tallies
from estimators.units import Units
from tests.estimators.samples import Size, build, crossfit, effect, instrumented, run

LEAST = float((CHECKS["design"].metrics["p_value"].threshold or "").removeprefix(">= "))
PLR = effect(propensity="p")


def designed(
    seed: int, told: float, *, chance: float = 0.5, size: Size | None = None, **given: object
) -> Units:
    """A coin of this chance, and the chance that the study is told."""
    units = build(seed, size or Size(400, k=3), **given)
    rng = np.random.default_rng(seed)
    owner = np.arange(units.n) if units.cluster is None else units.cluster
    d = (rng.random(units.n) < chance)[owner].astype(np.float64)
    y = d + units.design.values[:, 0] + rng.standard_normal(units.n)
    return replace(
        units, treatments={**units.treatments, "d": d}, outcomes={**units.outcomes, "y": y},
        propensities={"p": np.full(units.n, told)},
    )  # fmt: skip


def found(units: Units, spec: EffectSpec = PLR) -> Finding:
    _, sums = crossfit(units, (spec,))
    (finding,) = IMPLEMENTATIONS["design"].run(
        Tallies([row for each in sums for row in each.tallies]), spec
    )
    return finding


def test_by_hand() -> None:
    """z of the level: the sum of D - p over the root of its squares, and Bonferroni's p."""
    units = designed(1, 0.45, weighted=True)
    left = units.weight * (units.treatments["d"] - 0.45)
    z = left.sum() / np.sqrt((left**2).sum() * 400 / 399)
    finding = found(units)
    assert finding.detail["z"]["level"] == pytest.approx(z, rel=1e-12)
    largest = max(abs(each) for each in finding.detail["z"].values())
    expected = min(1.0, 2 * len(finding.detail["z"]) * stats.norm.sf(largest))
    assert finding.value == pytest.approx(expected, rel=1e-12)
    assert json.loads(json.dumps(finding.detail, allow_nan=False)) == finding.detail


def test_a_propensity_of_another_level_fails() -> None:
    """PLR then gives half of the effect, and none of its other figures tells."""
    units = designed(2, 0.6, chance=0.2)
    estimate = run(units, PLR)[PLR.effect_id]
    assert estimate.ci_high is not None
    assert estimate.ci_high < 0.9  # the effect is 1
    assert found(units).value < LEAST
    assert found(units).detail["worst"] == "level"


def test_a_covariate_that_tells_more_fails() -> None:
    """The right share of treated, assigned by a covariate that the design knows nothing of."""
    units = designed(3, 0.5)
    x = units.design.values[:, 1]
    d = (x + np.random.default_rng(0).standard_normal(units.n) > np.median(x)).astype(np.float64)
    finding = found(replace(units, treatments={**units.treatments, "d": d}))
    assert finding.value < LEAST
    assert finding.detail["worst"] == f"covariate:{units.design.names[1]}"


@pytest.mark.parametrize("given", [{}, {"weighted": True, "missing": 0.1, "category": True}])
def test_the_true_design_passes(given: dict) -> None:
    values = [found(designed(seed, 0.5, **given)).value for seed in range(30)]
    assert min(values) >= LEAST
    assert 0.05 < np.mean(values) < 1


def test_clusters_that_are_treated_together_are_one_draw_each() -> None:
    """Counted by unit, most designs by cluster would fail."""
    size = Size(400, k=3, clusters=24)
    assert min(found(designed(seed, 0.5, size=size)).value for seed in range(30)) >= LEAST


def test_of_an_instrument_it_is_the_instrument_that_is_judged() -> None:
    """Assigned at even odds, taken by half of the assigned."""
    spec = next(each for each in instrumented() if each.method == "iivm")
    spec = replace(spec, propensity="p")
    units = build(4, Size(400, k=3))
    share = float(np.mean(units.treatments[spec.instrument]))
    values = [
        found(replace(units, propensities={"p": np.full(units.n, each)}), spec).detail["z"]["level"]
        for each in (share, share / 2)
    ]
    assert values[0] == pytest.approx(0.0, abs=1e-9)
    assert values[1] > 5


def test_it_applies_where_a_propensity_is_known() -> None:
    assert "design" in applicable(PLR)
    assert "design" not in applicable(effect())
    assert IMPLEMENTATIONS["design"].run(Tallies([]), PLR) == [
        Finding(PLR.effect_id, "p_value", None)
    ]


def test_repetitions_say_it_once() -> None:
    once, twice = (
        found(designed(5, 0.4, size=Size(200, k=3, reps=reps), chance=0.5)).detail["z"]["level"]
        for reps in (1, 2)
    )
    assert once == pytest.approx(twice, rel=1e-12)
