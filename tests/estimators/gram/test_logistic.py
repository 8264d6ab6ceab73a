from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from estimators.errors import ContractError, NotEstimableError
from estimators.gram.accumulate import accumulate
from estimators.gram.columns import Rows
from estimators.gram.layout import Layout
from estimators.gram.logistic import advance, fit_logistic, start
from estimators.gram.logistic_pass import Logistic, logistic_pass
from estimators.gram.partials import by_fold
from estimators.gram.predict import predict, probability
from tests.estimators.gram.world import basis_columns, make_layout, make_rows

PENALTY = 1e-3


def binary_rows() -> Rows:
    rows = make_rows()
    draw = np.random.default_rng(11)
    x0, x1 = rows.covariates["x0"], rows.covariates["x1"]
    linear = {
        "rain": np.sin(x0) - 0.5,  # type: ignore[operator]
        "rare": 0.4 * (x1 - 50.0) - 3.0,  # type: ignore[operator]
        "sharp": 1.5 * (x0 - 50.0),  # type: ignore[operator]
    }
    chances = {name: 1.0 / (1.0 + np.exp(-each)) for name, each in linear.items()}
    return replace(
        rows,
        treatments={n: (draw.random(rows.n) < each).astype(float) for n, each in chances.items()},
    )


ROWS = binary_rows()
LAYOUT = make_layout(ROWS)
NAMES = ("rain", "rare", "sharp")


def fitted(layout: Layout, rows: Rows, penalty: float = PENALTY) -> Logistic:
    folds = by_fold(layout, accumulate(layout, rows))
    return fit_logistic(layout, folds, lambda: [rows], NAMES, np.array(penalty))


def test_coefficients_are_scikit_learns():
    model = fitted(LAYOUT, ROWS)
    design = basis_columns(LAYOUT, ROWS)
    for fold in range(5):
        train = ROWS.fold != fold
        strength = 1.0 / (PENALTY * ROWS.weight[train].sum())
        for j, name in enumerate(NAMES):
            plain = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-13)
            plain.fit(design[train], ROWS.treatments[name][train], sample_weight=ROWS.weight[train])
            ours = model.coefficients[fold, j]
            np.testing.assert_allclose(ours[1:], plain.coef_[0], rtol=0, atol=1e-8)
            np.testing.assert_allclose(ours[0], plain.intercept_[0], rtol=0, atol=1e-8)


@pytest.mark.parametrize("penalty", [1e-1, 1e-3, 1e-5])
def test_the_training_gradient_is_zero(penalty):
    """What the borrowed Hessian cannot change: the point where the steps end."""
    model = fitted(LAYOUT, ROWS, penalty)
    design = np.column_stack([np.ones(ROWS.n), basis_columns(LAYOUT, ROWS)])
    for fold in range(5):
        train = ROWS.fold != fold
        weight = ROWS.weight[train]
        for j, name in enumerate(NAMES):
            slopes = model.coefficients[fold, j]
            error = probability(design[train] @ slopes) - ROWS.treatments[name][train]
            pull = penalty * weight.sum() * np.r_[0.0, slopes[1:]]
            gradient = (weight * error) @ design[train] + pull
            assert np.abs(gradient).max() / weight.sum() < 1e-10
    assert model.passes < 20


def test_row_order_and_batches_do_not_show():
    whole = fitted(LAYOUT, ROWS)
    order = np.random.default_rng(2).permutation(ROWS.n)
    bucket = LAYOUT.buckets(ROWS.place)[order]
    batches = [ROWS.take(order[bucket == each]) for each in np.unique(bucket)]
    folds = by_fold(LAYOUT, accumulate(LAYOUT, ROWS))
    split = fit_logistic(LAYOUT, folds, lambda: batches, NAMES, np.array(PENALTY))
    assert split.coefficients.tobytes() == whole.coefficients.tobytes()
    assert split.passes == whole.passes


def test_workers_may_hand_in_their_leaves_in_order_of_bucket():
    folds = by_fold(LAYOUT, accumulate(LAYOUT, ROWS))
    state = start(LAYOUT, folds, NAMES, np.array(PENALTY))
    while not state.done:
        parts = sorted(logistic_pass(LAYOUT, ROWS, state), key=lambda part: (part[1], part[0]))
        state = advance(state, parts)
    whole = fitted(LAYOUT, ROWS)
    assert state.coefficients.tobytes() == whole.coefficients.tobytes()


def test_predictions_are_out_of_fold():
    model = fitted(LAYOUT, ROWS)
    order = np.random.default_rng(2).permutation(ROWS.n)
    rows = ROWS.take(order)
    chance = probability(predict(LAYOUT, rows, model.coefficients.transpose(0, 2, 1)))
    design = np.column_stack([np.ones(rows.n), basis_columns(LAYOUT, rows)])
    for fold in range(5):
        mine = rows.fold == fold
        plain = probability(design[mine] @ model.coefficients[fold].T).T
        np.testing.assert_allclose(chance[:, mine], plain, rtol=0, atol=1e-12)
    for j, name in enumerate(NAMES):
        assert abs(chance[j].mean() - ROWS.treatments[name].mean()) < 0.01


def test_probabilities_do_not_overflow():
    values = probability(np.array([-800.0, -1.0, 0.0, 1.0, 800.0]))
    assert values[[0, 2, 4]].tolist() == [0.0, 0.5, 1.0]
    assert values[1] + values[3] == pytest.approx(1.0, abs=1e-15)


def test_a_constant_treatment_is_named():
    rows = replace(ROWS, treatments={**ROWS.treatments, "rare": np.zeros(ROWS.n)})
    with pytest.raises(NotEstimableError) as caught:
        fitted(make_layout(rows), rows)
    assert caught.value.code == "constant_treatment"
    assert caught.value.where.column == "rare"


def test_a_dose_is_refused():
    rows = replace(ROWS, treatments={**ROWS.treatments, "rare": ROWS.treatments["rare"] * 0.5})
    layout = make_layout(rows)
    with pytest.raises(ContractError) as caught:
        fitted(layout, rows)
    assert caught.value.code == "not_binary"


def test_a_separated_treatment_without_penalty_is_given_up_by_name():
    x = ROWS.covariates["x4"]
    rows = replace(ROWS, treatments={**ROWS.treatments, "sharp": (x > 50.0).astype(float)})  # type: ignore[operator]
    layout = make_layout(rows)
    with pytest.raises(NotEstimableError) as caught:
        fitted(layout, rows, 1e-16)
    assert caught.value.code == "no_convergence"
    assert caught.value.where.column == "sharp"
