"""Arms and instruments agree with DoubleML 0.11 to 1e-9 on identical folds and predictions."""

from __future__ import annotations

from collections.abc import Mapping

import doubleml as dml
import numpy as np
import pytest
from doubleml.utils import DMLDummyClassifier, DMLDummyRegressor, PSProcessorConfig
from numpy.typing import NDArray

from estimators.crossfit import summarise
from estimators.effects import EffectSpec
from estimators.inference import solve
from estimators.units import Units
from tests.estimators.peers import split
from tests.estimators.samples import (
    BOOSTED,
    LINEAR,
    Size,
    build,
    contrast,
    estimates,
    family_sums,
    instrumented,
    plan,
    predict,
)

TOLERANCE = 1e-9
SIZES = {
    "plain": Size(503, k=5),
    "repeated": Size(300, k=3, reps=3),
    "clustered": Size(480, k=4, clusters=60),
}
LEARNERS = {"linear": LINEAR, "xgboost": BOOSTED}
CASES = [("plain", "linear"), ("plain", "xgboost"), ("repeated", "linear"), ("clustered", "linear")]


def learners(name: str) -> dict:
    return {"outcome_learner": LEARNERS[name], "treatment_learner": LEARNERS[name]}


def ours(units: Units, *specs: EffectSpec):
    """Our sums, and every effect's nuisances by DoubleML's names, ``(n, repetitions)``."""
    work = plan(units, specs)
    fits = predict(units, work)
    sums = [summarise(units, work, rep, each) for rep, each in enumerate(fits)]
    named = {
        effect_id: {
            f"ml_{name}": np.stack([each[target] for each in fits], axis=1)
            for name, target in targets.items()
        }
        for effect_id, targets in work.targets.items()
    }
    return sums, named


def data(units: Units, treatment: NDArray, instrument: str | None = None) -> dml.DoubleMLData:
    return dml.DoubleMLData.from_arrays(
        np.nan_to_num(units.design.values),
        units.outcomes["y"],
        treatment,
        z=None if instrument is None else units.treatments[instrument],
        cluster_vars=units.cluster,
    )


def factor(units: Units) -> float:
    """Our clustered SE has G/(G-1), DoubleML's has not."""
    return 1.0 if units.clusters is None else np.sqrt(units.clusters / (units.clusters - 1))


def agree(units: Units, sums, effect_id: str, model) -> None:
    """Every repetition's theta and SE; the median theta, and without repetitions the SE."""
    families = family_sums(units, sums)[None]
    place = families[0].ids.index(effect_id)
    thetas, ses = np.ravel(model.all_thetas), np.ravel(model.all_ses)
    for rep, family in enumerate(families):
        solved = solve(family)
        se = np.sqrt(solved.covariance[place, place]) / factor(units)
        assert solved.theta[place] == pytest.approx(thetas[rep], rel=TOLERANCE)
        assert se == pytest.approx(ses[rep], rel=TOLERANCE)
    found = estimates(units, sums)[effect_id]
    assert found.theta == pytest.approx(np.ravel(model.thetas)[0], rel=TOLERANCE)
    if len(families) == 1:
        assert found.se / factor(units) == pytest.approx(np.ravel(model.ses)[0], rel=TOLERANCE)


@pytest.mark.parametrize(("size", "learner"), CASES)
@pytest.mark.parametrize("index", range(3), ids=["pliv-binary", "pliv-continuous", "iivm"])
def test_instruments(index: int, size: str, learner: str) -> None:
    units = build(31, SIZES[size])
    spec = instrumented(**learners(learner))[index]
    sums, named = ours(units, spec)
    treatment = units.treatments[spec.treatment]
    folds = {"n_folds": units.k, "n_rep": units.fold.shape[1], "draw_sample_splitting": False}
    given = data(units, treatment, spec.instrument)
    if spec.method == "pliv":
        regressors = [DMLDummyRegressor() for _ in range(3)]
        model = dml.DoubleMLPLIV(given, *regressors, **folds)
    else:
        model = dml.DoubleMLIIVM(
            given, DMLDummyRegressor(), DMLDummyClassifier(), DMLDummyClassifier(),
            ps_processor_config=PSProcessorConfig(clipping_threshold=spec.clip), **folds,
        )  # fmt: skip
    split(model, units)
    model.fit(external_predictions={"d": named[spec.effect_id]})
    agree(units, sums, spec.effect_id, model.framework)


def arms_in_doubleml(units: Units, named: Mapping[str, Mapping[str, NDArray]]) -> dml.DoubleMLAPOS:
    code = sum(i * units.treatments[f"arm={arm}"] for i, arm in enumerate("abc"))
    model = dml.DoubleMLAPOS(
        data(units, np.asarray(code)), DMLDummyRegressor(), DMLDummyClassifier(), [0, 1, 2],
        n_folds=units.k, n_rep=units.fold.shape[1],
        ps_processor_config=PSProcessorConfig(clipping_threshold=0.01),
        draw_sample_splitting=False,
    )  # fmt: skip
    split(model, units)
    external = {}
    for i, arm in enumerate("abc"):
        mine = named[contrast(arm, None).effect_id]
        # The other arms' outcome model is needed for its sensitivity analysis alone.
        external[i] = {
            "ml_m": mine["ml_m"],
            "ml_g_d_lvl1": mine["ml_g1"],
            "ml_g_d_lvl0": np.zeros_like(mine["ml_g1"]),
        }
    model.fit(external_predictions=external)
    return model


@pytest.mark.filterwarnings("ignore:The estimated nu2 for:UserWarning")
@pytest.mark.parametrize(("size", "learner"), CASES[:3])  # DoubleMLAPOS 0.11 takes no clusters
def test_arms_and_their_contrasts(size: str, learner: str) -> None:
    units = build(32, SIZES[size])
    means = [contrast(arm, None, **learners(learner)) for arm in "abc"]
    pairs = [contrast(arm, "a", **learners(learner)) for arm in "bc"]
    sums, named = ours(units, *means, *pairs)
    model = arms_in_doubleml(units, named)
    for place, spec in enumerate(means):
        agree(units, sums, spec.effect_id, model.modellist[place].framework)
    against = model.causal_contrast(0)
    families = family_sums(units, sums)[None]
    for place, spec in enumerate(pairs):
        mine = families[0].ids.index(spec.effect_id)
        for rep, family in enumerate(families):
            solved = solve(family)
            theta, variance = solved.theta[mine], solved.covariance[mine, mine]
            assert theta == pytest.approx(against.all_thetas[place, rep], rel=TOLERANCE)
            se = np.sqrt(variance) / factor(units)
            assert se == pytest.approx(against.all_ses[place, rep], rel=TOLERANCE)
