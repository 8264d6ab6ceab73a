"""Nuisance quality: R2 out of fold against the training rows' mean, and a learner that fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from estimators.checks import IMPLEMENTATIONS
from estimators.crossfit import _constant, summarise
from estimators.tallies import Tallies
from tests.estimators.checks.small import ATE, findings, fitted_of, units_of
from tests.estimators.samples import BOOSTED, LINEAR, Size, build, effect, plan, predict

D = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
Y = np.array([3.0, 2.5, 4.0, 0.5, 1.0, 3.0])
FITS = {
    "m": np.array([0.6, 0.5, 0.8, 0.3, 0.4, 0.7]),
    "g0": np.array([9.0, 9.0, 9.0, 0.6, 1.2, 2.5]),
    "g1": np.array([3.1, 2.4, 3.0, 9.0, 9.0, 9.0]),
}
MEANS = {"m": np.full(6, 0.5), "g0": np.full(6, 1.6), "g1": np.full(6, 3.3)}


def r2(truth: np.ndarray, fit: np.ndarray, mean: np.ndarray, w: np.ndarray) -> float:
    return 1 - (w * (truth - fit) ** 2).sum() / (w * (truth - mean) ** 2).sum()


@pytest.mark.parametrize("weighted", [False, True])
def test_by_hand(weighted: bool) -> None:
    """An arm's nuisance is judged on its own arm: elsewhere there is no truth."""
    w = np.array([1.0, 2.0, 0.5, 3.0, 1.0, 0.7]) if weighted else np.ones(6)
    units = units_of(D.tolist(), y=Y.tolist(), weight=w.tolist())
    found = findings("nuisance_quality", units, fitted_of(units, ATE, FITS, MEANS))
    one, zero = D == 1, D == 0
    expected = {
        "m": r2(D, FITS["m"], MEANS["m"], w),
        "g0": r2(Y[zero], FITS["g0"][zero], MEANS["g0"][zero], w[zero]),
        "g1": r2(Y[one], FITS["g1"][one], MEANS["g1"][one], w[one]),
    }
    assert found["outcome_r2"].value == pytest.approx(min(expected["g0"], expected["g1"]))
    assert found["treatment_r2"].value == pytest.approx(expected["m"])
    assert found["treatment_r2"].detail["r2"] == pytest.approx(expected)


def test_the_constant_is_the_training_rows_weighted_mean() -> None:
    units = build(71, Size(60, k=3), weighted=True)
    work = plan(units, (effect("irm", "ate"),))
    target = work.targets["irm.ate.d.y"]["g1"]
    found = _constant(units, 0, target)
    y, d, w = units.outcomes["y"], units.treatments["d"], units.weight
    for fold in range(3):
        train = (units.fold[:, 0] != fold) & (d == 1)
        mean = np.average(y[train], weights=w[train])
        assert found[units.fold[:, 0] == fold] == pytest.approx(mean, rel=1e-12)


def quality(units, spec) -> dict[str, float | None]:
    work = plan(units, (spec,))
    sums = [summarise(units, work, rep, fits) for rep, fits in enumerate(predict(units, work))]
    tallies = Tallies([row for each in sums for row in each.tallies])
    found = IMPLEMENTATIONS["nuisance_quality"].run(tallies, spec)
    return {each.metric: each.value for each in found}


@pytest.mark.parametrize("method", ["plr", "irm"])
def test_a_greedy_learner_is_worse_than_a_constant(method: str) -> None:
    """Known bad: deep, fast trees on a treatment that is nearly noise."""
    greedy = BOOSTED | {"max_depth": 6, "learning_rate": 0.3, "n_estimators": 100}
    units = build(72, Size(600, k=3))
    estimand = "slope" if method == "plr" else "ate"
    bad = quality(units, effect(method, estimand, treatment_learner=greedy))
    good = quality(units, effect(method, estimand, treatment_learner=LINEAR))
    assert bad["treatment_r2"] < -0.1
    assert good["treatment_r2"] > 0.0
    assert good["outcome_r2"] > 0.2
    assert bad["outcome_r2"] == good["outcome_r2"]


def test_repetitions_are_averaged() -> None:
    units = build(73, Size(150, k=3, reps=3))
    spec = effect("irm", "ate")
    alone = [quality(replace(units, fold=units.fold[:, [rep]]), spec) for rep in range(3)]
    together = quality(units, spec)
    values = [each["treatment_r2"] for each in alone]
    assert min(values) <= together["treatment_r2"] <= max(values)


def test_a_constant_outcome_has_no_r2() -> None:
    units = units_of(D.tolist(), y=[2.0] * 6)
    flat = {"m": FITS["m"], "g0": np.full(6, 2.0), "g1": np.full(6, 2.0)}
    means = {"m": MEANS["m"], "g0": np.full(6, 2.0), "g1": np.full(6, 2.0)}
    found = findings("nuisance_quality", units, fitted_of(units, ATE, flat, means))
    assert found["outcome_r2"].value is None
    assert found["treatment_r2"].value is not None


def test_nothing_fitted_nothing_found() -> None:
    found = IMPLEMENTATIONS["nuisance_quality"].run(Tallies([]), ATE)
    assert [(each.metric, each.value) for each in found] == [
        ("outcome_r2", None), ("treatment_r2", None),
    ]  # fmt: skip
