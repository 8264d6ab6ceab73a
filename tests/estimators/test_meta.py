"""Meta-learners: EconML's on identical splits and nuisances, and truths that are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from econml.dml import NonParamDML
from econml.dr import DRLearner
from econml.metalearners import SLearner, TLearner, XLearner
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression

from estimators.catalog import META_LEARNERS as LEARNERS
from estimators.crossfit import fit, place, plan, tasks
from estimators.effects import Spec
from estimators.meta import CateData, Final, calibration, cate, second_stages
from estimators.scores import irm_ate
from estimators.units import Units
from jobs.peers.learners import LookedProbability, OurRegressor
from tests.estimators.samples import BOOSTED, LINEAR, Size, build, effect

TOLERANCE = 1e-9
PEERS = pytest.mark.filterwarnings("ignore")  # the peers' own warnings


def world(seed: int = 81, n: int = 600, learner: Spec = LINEAR) -> tuple[Units, CateData, Any]:
    """Units whose effect is 1 + x0, and our nuisances of them."""
    units = build(seed, Size(n, k=3), theta=0.0)
    x, d = units.design.values, units.treatments["d"]
    truth = 1.0 + x[:, 0]
    units = replace(units, outcomes={"y": units.outcomes["y"] + truth * d})
    learners = {"outcome_learner": learner, "treatment_learner": learner}
    specs = (effect("irm", "ate", **learners), effect(**learners))
    work = plan(units, specs)
    fitted = [(task, fit(units, task, "")) for task in tasks(units, work)]
    predictions = place(units, fitted)
    named = {}
    for spec in specs:
        targets = work.targets[spec.effect_id]
        named |= {name: predictions[target] for name, target in targets.items()}
    data = CateData(
        units.design, units.outcomes["y"], d, units.weight, units.fold[:, 0], clip=0.01, **named
    )
    return units, data, truth


class Features(BaseEstimator):
    """Our learner without the row number in the first column (nor EconML's redundant arm)."""

    def __init__(self, spec: Spec, seed: int = 0, drop: tuple[int, ...] = (0,)) -> None:
        self.spec, self.seed, self.drop = spec, seed, drop

    def fit(self, X, y, sample_weight=None):  # noqa: N803
        self.x_, self.y_ = np.delete(X, self.drop, axis=1), np.ravel(y)
        self.weight_ = np.ones(len(X)) if sample_weight is None else sample_weight
        return self

    def predict(self, X):  # noqa: N803
        from estimators.learners import open_fold
        from estimators.learners.design import Design

        rows = np.concatenate([self.x_, np.delete(X, self.drop, axis=1)])
        n = len(self.x_)
        design = Design(rows, tuple(f"x{j}" for j in range(rows.shape[1])), {})
        weight = np.concatenate([self.weight_, np.ones(len(X))])
        opened = open_fold(self.spec, design, np.arange(n), np.arange(n, len(rows)), weight)
        return opened.predict(self.y_, "continuous", self.spec, self.seed)


class Found(BaseEstimator):
    """Out-of-fold predictions by row number; of an arm where the last column names it."""

    def __init__(self, values: np.ndarray, arm: int | None = None) -> None:
        self.values, self.arm = values, arm

    def fit(self, X, y, **_):  # noqa: N803
        return self

    def predict(self, X):  # noqa: N803
        rows = X[:, 0].astype(int)
        if self.values.ndim == 1:
            return self.values[rows]
        return self.values[rows, X[:, -1].astype(int)]


def theirs(name: str, data: CateData, spec: Spec) -> np.ndarray:
    """EconML's learner trained on the other folds, for every fold."""
    n = len(data.y)
    numbered = np.concatenate([np.arange(n)[:, None], data.design.values], axis=1)
    tau = np.empty(n)
    for fold in np.unique(data.fold):
        train, test = np.flatnonzero(data.fold != fold), np.flatnonzero(data.fold == fold)
        model = econml(name, data, spec, len(train))
        model.fit(data.y[train], data.d[train], X=numbered[train])
        tau[test] = np.ravel(model.effect(numbered[test]))
    return tau


def econml(name: str, data: CateData, spec: Spec, n: int) -> Any:
    halves = [(np.arange(n // 2), np.arange(n // 2, n)), (np.arange(n // 2, n), np.arange(n // 2))]
    final = Features(spec)
    if name == "s":
        return SLearner(overall_model=Features(spec, drop=(0, -2)))
    if name == "t":
        return TLearner(models=Features(spec))
    if name == "x":
        return XLearner(
            models=[Found(data.g0), Found(data.g1)],
            cate_models=final,
            propensity_model=LookedProbability(data.m),
        )
    if name == "r":
        return NonParamDML(
            model_y=Found(data.l), model_t=Found(data.m), model_final=final, cv=halves
        )
    arms = np.stack([data.g0, data.g1], axis=1)
    return DRLearner(
        model_regression=Found(arms), model_propensity=LookedProbability(data.m),
        model_final=final, min_propensity=data.clip, cv=halves,
    )  # fmt: skip


@PEERS
@pytest.mark.parametrize("learner", [LINEAR, BOOSTED], ids=["linear", "xgboost"])
@pytest.mark.parametrize("name", LEARNERS)
def test_econml_on_identical_splits(name: str, learner: Spec) -> None:
    """S and T are EconML's own fits; X, R and DR get our nuisances through models that look up."""
    _, data, _ = world(learner=learner)
    ours = cate(data, (name,), Final(learner))[name]
    assert ours == pytest.approx(theirs(name, data, learner), rel=TOLERANCE, abs=TOLERANCE)


def test_all_five_learn_an_effect_that_varies() -> None:
    """tau = 1 + x0 with linear second stages: every learner beats a constant effect."""
    _, data, truth = world(n=4000)
    for name, tau in cate(data, LEARNERS, Final(LINEAR)).items():
        pehe = np.sqrt(np.mean((tau - truth) ** 2))
        constant = np.sqrt(np.mean((truth.mean() - truth) ** 2))
        if name == "s":
            assert pehe == pytest.approx(constant, rel=0.2), "linear S has no interaction"
        else:
            assert pehe < 0.5 * constant, name  # three quarters of the variance


def test_a_fold_never_sees_its_own_outcomes() -> None:
    _, data, _ = world()
    changed = replace(data, y=np.where(data.fold == 0, data.y + 50.0, data.y))
    held = data.fold == 0
    first, second = (cate(each, ("s", "x", "r", "dr"), Final(LINEAR)) for each in (data, changed))
    for name in first:
        assert np.array_equal(first[name][held], second[name][held]), name
        assert not np.array_equal(first[name][~held], second[name][~held]), name


@pytest.mark.parametrize("name", ["s", "x", "r", "dr"])
def test_a_weight_of_three_is_three_copies(name: str) -> None:
    _, data, _ = world(n=200)
    weight = np.where(np.arange(200) % 4 == 0, 3.0, 1.0)
    copies = np.repeat(np.arange(200), weight.astype(int))
    weighted = cate(replace(data, weight=weight), (name,), Final(LINEAR))[name]
    fields = {
        each: getattr(data, each)[copies] for each in ("y", "d", "fold", "g0", "g1", "m", "l")
    }
    copied = replace(
        data,
        design=replace(data.design, values=data.design.values[copies]),
        weight=np.ones(len(copies)),
        **fields,
    )
    found = cate(copied, (name,), Final(LINEAR))[name]
    assert found == pytest.approx(weighted[copies], rel=1e-9)


def test_residuals_of_zero_weigh_nothing() -> None:
    _, data, _ = world(n=120)
    sure = replace(data, m=np.where(np.arange(120) % 5 == 0, data.d, data.m))
    (stage,) = second_stages(sure, "r")
    assert np.isfinite(stage.target).all()
    assert (stage.weight[::5] == 0.0).all()


def test_calibration_is_a_regression_of_the_pseudo_outcomes() -> None:
    _, data, truth = world(n=3000)
    gamma = irm_ate(data.y, data.d, data.g0, data.g1, np.clip(data.m, 0.01, 0.99))[1]
    found, se = calibration(truth, gamma, data.weight)
    fitted = LinearRegression().fit((truth - truth.mean())[:, None], gamma)
    assert found == pytest.approx([fitted.intercept_, fitted.coef_[0]], rel=1e-9)
    assert abs(found[1] - 1.0) < 4 * se[1], "the truth is calibrated"
    noise = np.random.default_rng(1).normal(size=3000)
    nothing, error = calibration(noise, gamma, data.weight)
    assert abs(nothing[1]) < 4 * error[1], "noise finds nothing"


def test_our_regressor_is_the_learner_itself() -> None:
    """What `compare` hands to the peers predicts what the learner does."""
    _, data, _ = world(n=200)
    x, y = data.design.values, data.y
    theirs = OurRegressor(LINEAR).fit(x[:150], y[:150]).predict(x[150:])
    mine = Features(LINEAR, drop=()).fit(x[:150], y[:150]).predict(x[150:])
    assert np.array_equal(theirs, mine)
