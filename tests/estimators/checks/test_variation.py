"""Variation: what the covariates leave of the treatment; and treatments that they tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from estimators.catalog import CHECKS
from estimators.checks import IMPLEMENTATIONS
from estimators.tallies import Tallies
from tests.estimators.samples import BOOSTED, LINEAR, Size, build, crossfit, effect, predict


@pytest.mark.parametrize("weighted", [False, True])
def test_by_hand(weighted: bool) -> None:
    """Squared residuals over those of the training rows' means."""
    units, spec = build(120, Size(200, k=4), weighted=weighted), effect(treatment="t")
    work, sums = crossfit(units, (spec,))
    (fitted,) = predict(units, work)
    t, w, fold = units.treatments["t"], units.weight, units.fold[:, 0]
    m = fitted[work.targets[spec.effect_id]["m"]]
    mean = np.array([np.average(t[fold != f], weights=w[fold != f]) for f in range(4)])[fold]
    expected = np.average((t - m) ** 2, weights=w) / np.average((t - mean) ** 2, weights=w)
    (found,) = IMPLEMENTATIONS["variation"].run(Tallies(sums[0].tallies), spec)
    assert found.value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("learner", [LINEAR, BOOSTED | {"n_estimators": 100}])
@pytest.mark.parametrize("treatment", ["d", "t"])
def test_a_perfectly_predicted_treatment_fails(treatment: str, learner: dict) -> None:
    """A step of a covariate, or twice a covariate: every learner sees through it."""
    units = build(121, Size(600, k=3))
    x = units.design.values[:, 0]
    told = {"d": (x > 0.2).astype(np.float64), "t": 2.0 * x}
    spec = effect(treatment=treatment, outcome_learner=learner, treatment_learner=learner)
    sound, told_by = units, replace(units, treatments={**units.treatments, **told})
    shares = []
    for each in (sound, told_by):
        _, sums = crossfit(each, (spec,))
        (found,) = IMPLEMENTATIONS["variation"].run(Tallies(sums[0].tallies), spec)
        shares.append(found.value)
    assert shares[0] > 0.3
    if (treatment, learner) == ("d", LINEAR):
        return  # a logistic line cannot be a step: what is left is real
    assert shares[1] < 0.02


def test_weighting_does_not_balance_a_perfectly_predicted_treatment() -> None:
    """IRM: propensities beyond the bound, or arms that no weight makes alike."""
    units = build(122, Size(600, k=3))
    x = units.design.values[:, 0]
    told = replace(units, treatments={"d": (x > 0.2).astype(np.float64)})
    for learner in (LINEAR, BOOSTED | {"n_estimators": 100}):
        spec = effect("irm", "ate", outcome_learner=learner, treatment_learner=learner)
        _, sums = crossfit(told, (spec,))
        run = IMPLEMENTATIONS["balance"].run(Tallies(sums[0].tallies), spec)
        worst = next(each for each in run if each.metric == "max_smd")
        assert worst.value > 5 * 0.1
        assert CHECKS["balance"].metrics["max_smd"].threshold == "<= 0.1"
