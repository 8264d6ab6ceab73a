from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression, Ridge

from estimators.errors import UsageError
from estimators.gram.accumulate import accumulate
from estimators.gram.collinear import collinearity
from estimators.gram.columns import Rows
from estimators.gram.layout import Layout
from estimators.gram.partials import by_fold
from estimators.gram.pinning import Choice
from estimators.gram.ridge import MILD, PENALTIES, coefficients, factor, fit, weakest
from estimators.gram.system import Gram, gram_of, systems, without
from tests.estimators.gram.world import Size, basis_columns, copied, make_layout, make_rows

ROWS = make_rows(gaps=False)
LAYOUT = make_layout(ROWS)


def grams(layout: Layout, rows: Rows) -> list[Gram]:
    system = systems(layout)[0]
    return [gram_of(layout, sums, system) for sums in by_fold(layout, accumulate(layout, rows))]


def targets(rows: Rows, layout: Layout) -> np.ndarray:
    columns = [*rows.treatments.values(), *rows.outcomes.values()]
    return np.stack(columns, axis=1) - np.array(layout.centre)


@pytest.mark.parametrize("penalty", [1e1, 1e-1, 1e-3, 1e-6])
def test_coefficients_are_scikit_learns(penalty):
    fitted = fit(grams(LAYOUT, ROWS), [penalty])
    design = basis_columns(LAYOUT, ROWS)
    for fold in range(5):
        train = ROWS.fold != fold
        model = Ridge(alpha=penalty * ROWS.weight[train].sum(), solver="cholesky")
        model.fit(design[train], targets(ROWS, LAYOUT)[train], sample_weight=ROWS.weight[train])
        plain = np.vstack([model.intercept_, model.coef_.T])
        np.testing.assert_allclose(fitted.coefficients[fold], plain, rtol=0, atol=1e-9)


def test_without_a_penalty_predictions_are_least_squares():
    rows = make_rows(gaps=False, weighted=False)
    layout = make_layout(rows)
    fitted = fit(grams(layout, rows), [0.0])
    design, train = basis_columns(layout, rows), rows.fold != 0
    plain = LinearRegression().fit(design[train], targets(rows, layout)[train])
    ours = fitted.coefficients[0][0] + design @ fitted.coefficients[0][1:]
    np.testing.assert_allclose(ours, plain.predict(design), rtol=0, atol=1e-9)


def test_the_penalty_is_the_one_that_refitting_inside_the_training_folds_chooses():
    """The weakest whose loss exceeds the least by no more than the difference's standard error."""
    rows = make_rows(Size(n=900, outcomes=2, seed=4), gaps=False)
    layout = make_layout(rows)
    design, y = basis_columns(layout, rows), targets(rows, layout)
    for fold in range(5):
        loss = np.zeros((4, len(PENALTIES), y.shape[1]))
        for part, inner in enumerate(each for each in range(5) if each != fold):
            train, test = ~np.isin(rows.fold, [fold, inner]), rows.fold == inner
            for i, penalty in enumerate(PENALTIES):
                model = Ridge(alpha=penalty * rows.weight[train].sum(), solver="cholesky")
                model.fit(design[train], y[train], sample_weight=rows.weight[train])
                error = y[test] - model.predict(design[test])
                loss[part, i] = (rows.weight[test, None] * error**2).sum(axis=0)
        for target, chosen in enumerate(fit(grams(layout, rows)).penalty[fold]):
            best = loss[:, :, target].sum(axis=0).argmin()
            at = best
            while PENALTIES[at + 1] >= MILD:
                worse = loss[:, at + 1, target] - loss[:, best, target]
                if worse.sum() > 4 * min(stats.sem(worse), stats.sem(loss[:, best, target])):
                    break
                at += 1
            assert chosen == PENALTIES[at]


STEPS = (1.0, 0.1, 0.01, 0.001)


def losses_of(*worse):
    """``(4, 4, 1)`` losses: of a strong penalty, the best, and two weaker ones."""
    best = np.array([10.0, 11.0, 9.0, 10.0])
    others = (best + np.array(each) for each in worse)
    return np.stack([best + 5.0, best, *others], axis=1)[..., None]


@pytest.mark.parametrize(
    ("worse", "chosen"),
    [
        (((0.3, -0.2, 0.1, 0.2), (1.0, 1.1, 0.9, 1.0)), 2),  # in doubt, then surely worse
        (((1.0, 1.1, 0.9, 1.0), (0.3, -0.2, 0.1, 0.2)), 1),  # what lies behind is not looked at
        (((0.0, 0.0, -1e-9, 900.0), (0.0, 0.0, 0.0, 900.0)), 1),  # one part gone wild
        (((1e-12, 0.0, 0.0, 1e-12), (0.0, 2e-12, 0.0, 0.0)), 3),  # rounding
    ],
)
def test_a_penalty_is_weakened_until_it_predicts_worse(worse, chosen):
    assert weakest(losses_of(*worse), STEPS).tolist() == [chosen]
    mild = [max(1, min(chosen, 2))]
    assert weakest(losses_of(*worse), (1.0, 1e-3, MILD, 0.1 * MILD)).tolist() == mild


def test_of_one_part_the_penalty_that_predicts_best_is_taken():
    assert weakest(losses_of((0.1, 0.1, 0.1, 0.1), (0.2, 0.2, 0.2, 0.2))[:1], STEPS).tolist() == [1]


def test_the_held_out_fold_has_no_say_in_its_penalty_or_coefficients():
    noise = np.random.default_rng(0).normal(0, 100, ROWS.n)
    spoiled = {n: np.where(ROWS.fold == 2, noise, y) for n, y in ROWS.outcomes.items()}
    plain, other = (fit(grams(LAYOUT, rows)) for rows in (ROWS, replace(ROWS, outcomes=spoiled)))
    np.testing.assert_array_equal(plain.penalty[2], other.penalty[2])
    np.testing.assert_array_equal(plain.coefficients[2], other.coefficients[2])
    assert (plain.coefficients[1] != other.coefficients[1]).any()


def test_copies_are_weights():
    rows = make_rows(Size(n=800), weighted=False, gaps=False)
    layout = make_layout(rows)
    double = replace(rows, weight=np.full(rows.n, 3.0))
    ours, theirs = fit(grams(layout, double)), fit(grams(layout, copied(rows, 3)))
    np.testing.assert_array_equal(ours.penalty, theirs.penalty)
    np.testing.assert_allclose(ours.coefficients, theirs.coefficients, rtol=0, atol=1e-10)


def test_two_folds_cannot_choose_a_penalty():
    rows = replace(ROWS, fold=ROWS.fold % 2)
    layout = replace(LAYOUT, folds=2)
    assert fit(grams(layout, rows), [1e-3]).coefficients.shape[0] == 2
    with pytest.raises(UsageError, match="2 folds") as caught:
        fit(grams(layout, rows))
    assert caught.value.code == "too_few_folds"


def awkward() -> Rows:
    """A constant column, a copy, and a sum of two others."""
    covariates = dict(ROWS.covariates)
    a, b = covariates["x0"], covariates["x1"]
    covariates |= {"constant": np.full(ROWS.n, 7.3), "copy": a, "sum": 2.0 * a - b}  # type: ignore[operator]
    return replace(ROWS, covariates=covariates)


def test_constant_and_collinear_columns_are_named():
    rows = awkward()
    layout = make_layout(rows, Choice(segments=0))
    found = collinearity(without(grams(layout, rows)), layout.basis.names)
    assert found.constant == ("constant", "carrier=(other)")
    involved = {each.column: dict(each.partners) for each in found.dependent}
    assert len(involved) == 2
    names = {name for column, partners in involved.items() for name in (column, *partners)}
    assert names == {"x0", "x1", "copy", "sum"}


def test_constant_and_collinear_columns_change_no_prediction():
    rows = awkward()
    layout, plain = make_layout(rows, Choice(segments=0)), make_layout(ROWS, Choice(segments=0))
    fitted, expected = fit(grams(layout, rows), [0.0]), fit(grams(plain, ROWS), [0.0])
    assert np.isfinite(fitted.coefficients).all()
    ours = basis_columns(layout, rows) @ fitted.coefficients[0][1:] + fitted.coefficients[0][0]
    theirs = basis_columns(plain, ROWS) @ expected.coefficients[0][1:] + expected.coefficients[0][0]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


def test_nothing_is_named_where_nothing_is_wrong():
    rows = make_rows(gaps=False)
    layout = make_layout(rows, Choice(segments=3))
    found = collinearity(without(grams(layout, rows)), layout.basis.names)
    assert found.dependent == ()
    assert found.constant == ("carrier=(other)",)


def test_one_factor_serves_every_penalty():
    gram = without(grams(LAYOUT, ROWS), 0)
    once = factor(gram)
    for penalty in (1e-8, 1e-2, 1.0):
        strength = np.full(gram.targets, penalty)
        own = fit(grams(LAYOUT, ROWS), [penalty]).coefficients[0]
        np.testing.assert_array_equal(coefficients(once, strength), own)
