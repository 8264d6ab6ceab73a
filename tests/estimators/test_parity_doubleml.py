"""Theta and SE agree with DoubleML 0.11 to 1e-9 on identical folds and predictions."""

from __future__ import annotations

import doubleml as dml
import numpy as np
import pytest
from doubleml.utils import DMLDummyClassifier, DMLDummyRegressor, PSProcessorConfig

from estimators.crossfit import summarise
from estimators.effects import EffectSpec
from estimators.inference import estimate, solve
from estimators.units import Units
from tests.estimators.peers import split
from tests.estimators.samples import (
    BOOSTED,
    LINEAR,
    Size,
    build,
    crossfit,
    effect,
    estimates,
    family_sums,
    irm,
    plan,
    predict,
    trio,
)

TOLERANCE = 1e-9


def peer(units: Units, spec: EffectSpec, predictions: list[dict]) -> dml.double_ml.DoubleML:
    """The same effect in DoubleML: its folds and every nuisance are ours."""
    clusters = units.cluster
    data = dml.DoubleMLData.from_arrays(
        np.nan_to_num(units.design.values),
        units.outcomes[spec.outcome],
        units.treatments[spec.treatment],
        cluster_vars=clusters,
    )
    reps = range(units.fold.shape[1])
    if spec.method == "plr":
        model = dml.DoubleMLPLR(
            data, DMLDummyRegressor(), DMLDummyRegressor(), n_folds=units.k, n_rep=len(reps),
            draw_sample_splitting=False,
        )  # fmt: skip
    else:
        model = dml.DoubleMLIRM(
            data, DMLDummyRegressor(), DMLDummyClassifier(),
            score="ATTE" if spec.estimand == "att" else "ATE",
            weights=population(units, spec, predictions), n_folds=units.k, n_rep=len(reps),
            ps_processor_config=PSProcessorConfig(clipping_threshold=spec.clip),
            draw_sample_splitting=False,
        )  # fmt: skip
    split(model, units)
    external = {f"ml_{name}": np.stack([each[name] for each in predictions], axis=1)
                for name in predictions[0]}  # fmt: skip
    if spec.method == "irm":
        # The ATT needs no g1, the ATU no g0; DoubleML asks for both and the value cancels.
        for name in ("ml_g0", "ml_g1"):
            external.setdefault(name, np.zeros((units.n, len(reps))))
    model.fit(external_predictions={"d": external})
    return model


def population(units: Units, spec: EffectSpec, predictions: list[dict]) -> dict | None:
    """Weights of a weighted ATE that make it the ATU or the overlap-weighted effect."""
    d, m = units.treatments[spec.treatment], predictions[0]["m"]
    if spec.estimand == "atu":
        m = np.clip(m, spec.clip, 1 - spec.clip)
        weights, expected = 1 - d, 1 - m
    elif spec.estimand == "ato":
        weights, expected = (d - m) ** 2, m * (1 - m)
    else:
        return None
    return {"weights": weights / weights.mean(), "weights_bar": expected[:, None] / weights.mean()}


def both(units: Units, spec: EffectSpec):
    work = plan(units, (spec,))
    fits = predict(units, work)
    names = work.targets[spec.effect_id]
    sums = [summarise(units, work, rep, each) for rep, each in enumerate(fits)]
    named = [{name: each[target] for name, target in names.items()} for each in fits]
    return sums, peer(units, spec, named)


@pytest.mark.parametrize("learner", [LINEAR, BOOSTED], ids=["linear", "xgboost"])
@pytest.mark.parametrize("index", range(5), ids=["plr", "ate", "att", "atu", "ato"])
def test_theta_and_se(index: int, learner: dict) -> None:
    learners = {"outcome_learner": learner, "treatment_learner": learner}
    spec = (effect(**learners), *irm(**learners))[index]
    units = build(11, Size(503, k=5))
    sums, model = both(units, spec)
    ours = estimates(units, sums)[spec.effect_id]
    assert ours.theta == pytest.approx(model.coef[0], rel=TOLERANCE)
    assert ours.se == pytest.approx(model.se[0], rel=TOLERANCE)
    interval = model.confint(level=0.95).iloc[0].to_list()
    assert [ours.ci_low, ours.ci_high] == pytest.approx(interval, rel=TOLERANCE)
    assert ours.p_value == pytest.approx(model.pval[0], rel=1e-7, abs=1e-15)


def test_dose() -> None:
    units = build(12, Size(401, k=5), theta=0.8)
    spec = effect(treatment="t")
    sums, model = both(units, spec)
    ours = estimates(units, sums)[spec.effect_id]
    assert ours.theta == pytest.approx(model.coef[0], rel=TOLERANCE)
    assert ours.se == pytest.approx(model.se[0], rel=TOLERANCE)


# DoubleML's sensitivity analysis, which is no part of the comparison, dislikes greedy propensities.
@pytest.mark.filterwarnings("ignore:The estimated nu2 for d is not positive:UserWarning")
@pytest.mark.parametrize("index", range(3), ids=["ate", "att", "atu"])
def test_clipping(index: int) -> None:
    """Propensities beyond the bound: both clip before the score, neither drops a row."""
    greedy = BOOSTED | {"max_depth": 6, "learning_rate": 0.5, "n_estimators": 60}
    spec = irm(treatment_learner=greedy, clip=0.05)[index]
    units = build(13, Size(600, k=5))
    sums, model = both(units, spec)
    (fits,) = predict(units, plan(units, (spec,)))
    m = next(value for target, value in fits.items() if target.variable == "d")
    assert ((m < 0.05) | (m > 0.95)).sum() > 10
    ours = estimates(units, sums)[spec.effect_id]
    assert ours.theta == pytest.approx(model.coef[0], rel=TOLERANCE)
    assert ours.se == pytest.approx(model.se[0], rel=TOLERANCE)


@pytest.mark.parametrize("index", range(3), ids=["plr", "ate", "att"])
def test_repetitions(index: int) -> None:
    """Each repetition agrees, and the median theta; the pooled SE follows another rule."""
    spec = trio()[index]
    units = build(14, Size(300, k=3, reps=4))
    sums, model = both(units, spec)
    repetitions = family_sums(units, sums)[None]
    for rep, family in enumerate(repetitions):
        solved = solve(family)
        assert solved.theta[0] == pytest.approx(model.all_coef[0, rep], rel=TOLERANCE)
        assert np.sqrt(solved.hc0[0, 0]) == pytest.approx(model.all_se[0, rep], rel=TOLERANCE)
    assert estimate(repetitions, 0.95)[0].theta == pytest.approx(model.coef[0], rel=TOLERANCE)


@pytest.mark.parametrize("index", range(3), ids=["plr", "ate", "att"])
def test_clusters_without_the_factor(index: int) -> None:
    """Folds of equal rows and equal cluster counts; DoubleML leaves G/(G-1) out."""
    spec = trio()[index]
    units = build(15, Size(480, k=4, clusters=60))
    _, rows = np.unique(units.fold[:, 0], return_counts=True)
    assert set(rows) == {120}
    sums, model = both(units, spec)
    ours = estimates(units, sums)[spec.effect_id]
    assert ours.n_clusters == 60
    assert ours.theta == pytest.approx(model.coef[0], rel=TOLERANCE)
    assert ours.se / np.sqrt(60 / 59) == pytest.approx(model.se[0], rel=TOLERANCE)


def test_clusters_of_unequal_folds_differ() -> None:
    """DoubleML weighs folds equally, we weigh units: the reason for equal folds above."""
    units = build(16, Size(477, k=4, clusters=53))
    spec = effect()
    sums, model = both(units, spec)
    ours = estimates(units, sums)[spec.effect_id]
    assert abs(ours.theta - model.coef[0]) > 1e-6


def test_groups_agree_with_gate() -> None:
    """An ATE by group is DoubleML's GATE: a mean of the pseudo-outcome within the group."""
    import pandas as pd

    units = build(17, Size(400, k=4, groups=3))
    spec = effect("irm", "ate", by=(("g",),))
    sums, model = both(units, spec)
    codes = units.groups["g"].codes
    gate = model.gate(pd.DataFrame({f"g{i}": codes == i for i in range(3)}))
    ours = estimates(units, sums)
    for i in range(3):
        found = ours[f"{spec.effect_id}@g=g{i}"]
        assert found.theta == pytest.approx(gate.blp_model[0].params.iloc[i], rel=TOLERANCE)
        assert found.n == (codes == i).sum()


def test_crossfit_is_one_call() -> None:
    """The pieces used above give what the short way gives."""
    units = build(18)
    spec = effect()
    assert estimates(units, crossfit(units, (spec,))[1]) == estimates(units, both(units, spec)[0])
