"""The spline learner: scikit-learn's splines and ridge where the definition is the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from estimators.gram.pinning import OUTER
from estimators.gram.ridge import PENALTIES, weakest
from estimators.learners import Design, draws_inside, open_fold
from estimators.learners.draws import parts
from tests.estimators.samples import Size, build, crossfit, effect, estimates

SPLINE = {"learner": "spline", "segments": 4, "penalty": 1e-3}
N = 900


def curved(seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, 3)) * [1.0, 20.0, 0.01]
    y = np.sin(2 * x[:, 0]) + (x[:, 1] / 20) ** 2 + rng.standard_normal(N) * 0.3
    design = Design(x, ("a", "b", "c"), {})
    return design, np.arange(600), np.arange(600, N), y


def peer(design: Design, train, model):
    """Uniform knots between the same quantiles, cubic, linear beyond; standardised columns."""
    x = design.values[train]
    ends = np.quantile(x, [OUTER, 1 - OUTER], axis=0, method="inverted_cdf")
    knots = np.linspace(*ends, num=SPLINE["segments"] + 1)
    splines = SplineTransformer(
        knots=knots, degree=3, extrapolation="linear", include_bias=False
    )  # fmt: skip
    return make_pipeline(splines, StandardScaler(), model)


@pytest.mark.parametrize("penalty", [1e-6, 1e-3, 1.0])
def test_it_is_scikit_learns_splines_and_ridge(penalty: float) -> None:
    design, train, test, y = curved()
    spec = SPLINE | {"penalty": penalty}
    ours = open_fold(spec, design, train, test, np.ones(N)).predict(y[train], "continuous", spec, 0)
    model = peer(design, train, Ridge(alpha=penalty * len(train)))
    theirs = model.fit(design.values[train], y[train]).predict(design.values[test])
    assert ours == pytest.approx(theirs, rel=1e-8, abs=1e-8)


def test_it_is_scikit_learns_splines_and_logistic_regression() -> None:
    design, train, test, y = curved()
    d = (y > 0.5).astype(float)
    ours = open_fold(SPLINE, design, train, test, np.ones(N)).predict(d[train], "binary", SPLINE, 0)
    strength = 1 / (1e-3 * len(train))
    model = LogisticRegression(C=strength, solver="newton-cg", tol=1e-12, max_iter=10_000)
    fitted = peer(design, train, model).fit(design.values[train], d[train])
    assert ours == pytest.approx(fitted.predict_proba(design.values[test])[:, 1], abs=1e-7)


def test_the_penalty_is_chosen_between_parts_of_the_training_rows() -> None:
    """The weakest that predicts as well as the best: on ridges of scikit-learn."""
    design, _, test, y = curved()
    train = np.arange(150)
    y = y + np.random.default_rng(1).standard_normal(N) * 2.0
    free = {"learner": "spline", "segments": 4}
    place = np.random.default_rng(1).integers(0, 60, N).astype(np.uint64)  # clusters
    opened = open_fold(free, design, train, test, np.ones(N), place=place)
    part, x = parts(place[train], 5, 0), opened.train
    loss = np.zeros((5, len(PENALTIES), 1))
    for i, penalty in enumerate(PENALTIES):
        for j in range(5):
            rest, mine = part != j, part == j
            model = Ridge(alpha=penalty * rest.sum()).fit(x[rest], y[train][rest])
            loss[j, i] = ((model.predict(x[mine]) - y[train][mine]) ** 2).sum()
    best = SPLINE | {"penalty": PENALTIES[int(weakest(loss)[0])]}
    assert PENALTIES[-1] < best["penalty"] < PENALTIES[int(loss.sum(axis=0).argmin())]
    ours = opened.predict(y[train], "continuous", free, 0)
    given = open_fold(best, design, train, test, np.ones(N)).predict(
        y[train], "continuous", best, 0
    )
    assert ours == pytest.approx(given, rel=1e-12)
    assert draws_inside(free)
    assert not draws_inside(best)


def test_held_out_rows_have_no_say() -> None:
    """Neither in the knots, nor in the penalty."""
    design, train, test, y = curved()
    free = {"learner": "spline", "segments": 3}
    spoilt = design.values.copy()
    spoilt[test[1:]] *= 50.0
    found = [
        open_fold(free, replace(design, values=values), train, test, np.ones(N)).predict(
            y[train], "continuous", free, 0
        )[0]
        for values in (design.values, spoilt)
    ]
    assert found[0] == found[1]


def test_one_cluster_in_the_training_rows_is_cut_by_rows() -> None:
    design, train, test, y = curved()
    free = {"learner": "spline", "segments": 3}
    opened = open_fold(free, design, train, test, np.ones(N), place=np.zeros(N, dtype=np.uint64))
    assert np.isfinite(opened.predict(y[train], "continuous", free, 0)).all()


def test_clusters_stay_whole_and_no_part_is_empty() -> None:
    place = np.repeat(np.arange(7, dtype=np.uint64), 5)
    part = parts(place, 5, 3)
    assert set(part) == set(range(5))
    assert all(len(set(part[place == each])) == 1 for each in range(7))
    assert part.tolist() != parts(place, 5, 4).tolist()


def test_splines_undo_curved_confounding_that_lines_cannot() -> None:
    units = build(5, Size(1_500, k=3))
    curve = units.design.values[:, 0] ** 2
    t = curve + np.random.default_rng(0).standard_normal(units.n)
    y = 0.5 * t + 2.0 * curve + np.random.default_rng(1).standard_normal(units.n)
    units = replace(units, treatments={"t": t}, outcomes={"y": y})
    found = {}
    for name, learner in (("spline", {"learner": "spline", "segments": 4}),
                          ("linear", {"learner": "linear", "penalty": 1.0})):  # fmt: skip
        spec = effect(treatment="t", outcome_learner=learner, treatment_learner=learner)
        found[name] = estimates(units, crossfit(units, (spec,))[1])[spec.effect_id]
    assert abs(found["spline"].theta - 0.5) < 4 * found["spline"].se
    assert abs(found["linear"].theta - 0.5) > 10 * found["linear"].se
