"""Theta, HC0 and HC1 agree with EconML to 1e-9 on identical folds and predictions."""

from __future__ import annotations

import numpy as np
import pytest
from econml.dml import LinearDML
from econml.dr import LinearDRLearner
from econml.inference import StatsModelsInference, StatsModelsInferenceDiscrete

from estimators.effects import EffectSpec
from estimators.units import Units
from jobs.peers.learners import Looked, LookedProbability, LookedTogether
from tests.estimators.samples import (
    BOOSTED,
    LINEAR,
    Size,
    build,
    crossfit,
    effect,
    estimates,
    predict,
)
from tests.estimators.samples import plan as plan_of

TOLERANCE = 1e-9
JOINT = ("d", "t")
CASES = {
    "plr": (effect(),),
    "dose": (effect(treatment="t"),),
    "joint": tuple(effect(treatment=each, joint=JOINT) for each in JOINT),
    "ate": (effect("irm", "ate"),),
}


def nuisances(units: Units, spec: EffectSpec) -> dict[str, np.ndarray]:
    (found,) = predict(units, plan_of(units, (spec,)))
    return {
        name: found[target]
        for name, target in plan_of(units, (spec,)).targets[spec.effect_id].items()
    }


def splits(units: Units) -> list[tuple[np.ndarray, np.ndarray]]:
    fold = units.fold[:, 0]
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(units.k)]


def theirs(units: Units, specs: tuple[EffectSpec, ...], kind: str) -> list[tuple[float, float]]:
    """Theta and SE of each effect; models look our predictions up by the row's number."""
    rows, y = np.arange(units.n, dtype=float)[:, None], units.outcomes["y"]
    of = [nuisances(units, each) for each in specs]
    if specs[0].method == "irm":
        arms = np.stack([of[0]["g0"], of[0]["g1"]], axis=1)
        model = LinearDRLearner(
            model_regression=Looked(arms), model_propensity=LookedProbability(of[0]["m"]),
            min_propensity=specs[0].clip, cv=splits(units),
        )  # fmt: skip
        inference = StatsModelsInferenceDiscrete(cov_type=kind)
        model.fit(y, units.treatments["d"], W=rows, inference=inference)
        se = model.intercept__inference(T=1).stderr
        return [(float(np.ravel(model.intercept_(T=1))[0]), float(np.ravel(se)[0]))]
    t = np.stack([units.treatments[each.treatment] for each in specs], axis=1)
    m = np.stack([each["m"] for each in of], axis=1)
    second = LookedTogether(m) if len(specs) > 1 else Looked(m)
    model = LinearDML(model_y=Looked(of[0]["l"][:, None]), model_t=second, cv=splits(units))
    given = t if len(specs) > 1 else t[:, 0]
    model.fit(y, given, W=rows, inference=StatsModelsInference(cov_type=kind))
    se = np.ravel(model.intercept__inference().stderr)
    return list(zip(np.ravel(model.intercept_).tolist(), se.tolist(), strict=True))


@pytest.mark.parametrize("kind", ["HC0", "HC1"])
@pytest.mark.parametrize("learner", [LINEAR, BOOSTED], ids=["linear", "xgboost"])
@pytest.mark.parametrize("case", CASES)
def test_theta_and_se(case: str, learner: dict, kind: str) -> None:
    """HC1 is HC0 times n / (n - p): p treatments, and of the ATE a mean."""
    units = build(51, Size(407, k=4))
    learners = {"outcome_learner": learner, "treatment_learner": learner}
    specs = tuple(
        effect(each.method, each.estimand, treatment=each.treatment, joint=each.joint, **learners)
        for each in CASES[case]
    )
    found = estimates(units, crossfit(units, specs)[1], drawn=False)
    factor = np.sqrt(units.n / (units.n - len(specs))) if kind == "HC1" else 1.0
    for spec, (theta, se) in zip(specs, theirs(units, specs, kind), strict=True):
        ours = found[spec.effect_id]
        assert ours.theta == pytest.approx(theta, rel=TOLERANCE)
        assert ours.se * factor == pytest.approx(se, rel=TOLERANCE)
