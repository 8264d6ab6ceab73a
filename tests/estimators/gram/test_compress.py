from dataclasses import replace

import numpy as np
import pytest

from estimators.gram import compress as module
from estimators.gram.accumulate import accumulate
from estimators.gram.columns import Rows
from estimators.gram.compress import accumulate_compressed, compress, second_moments
from estimators.gram.inference import covariance, solve
from estimators.gram.moments import fit_all
from estimators.gram.partials import digest
from estimators.gram.pinning import Choice
from estimators.gram.scores import merge_scores, second_pass
from tests.estimators.gram.world import Size, make_layout, make_rows


def discrete_rows() -> Rows:
    """Few distinct regressors, many rows; outcomes as before, one with gaps."""
    rows = make_rows(Size(n=6000, numbers=3, treatments=2, outcomes=3))
    draw = np.random.default_rng(6)
    level = draw.integers(0, 3, rows.n) * 0.37
    gap = np.where(draw.random(rows.n) < 0.2, np.nan, level)
    dose = {f"t{j}": draw.integers(0, 2, rows.n) * 1.3 for j in range(2)}
    covariates = {"x0": level, "x2": gap, "carrier": rows.covariates["carrier"]}
    y = {name: each + dose["t0"] for name, each in rows.outcomes.items()}
    return replace(rows, covariates=covariates, treatments=dose, outcomes=y)


ROWS = discrete_rows()
LAYOUT = make_layout(ROWS, Choice(segments=0, interactions=(("x0", "carrier"),)), depth=1)


def test_nothing_is_lost():
    small = compress(LAYOUT, ROWS)
    assert small.rows.n < ROWS.n / 3
    assert small.n.sum() == ROWS.n
    ours = accumulate_compressed(LAYOUT, small)
    theirs = accumulate(LAYOUT, ROWS)
    for a, b in zip(ours, theirs, strict=True):
        assert a.leaf == b.leaf
        assert (a.sums.n, a.sums.n_missing.tolist()) == (b.sums.n, b.sums.n_missing.tolist())
        np.testing.assert_allclose(a.sums.gram, b.sums.gram, rtol=1e-10, atol=1e-8)
        np.testing.assert_allclose(a.sums.missing, b.sums.missing, rtol=1e-10, atol=1e-8)


def test_effects_and_robust_variances_are_the_same():
    small = compress(LAYOUT, ROWS)
    fitted = fit_all(LAYOUT, accumulate_compressed(LAYOUT, small), [1e-3])
    whole = fit_all(LAYOUT, accumulate(LAYOUT, ROWS), [1e-3])
    ours = solve(fitted.shape, fitted.scores.sum(axis=0), fitted.variation)
    theirs = solve(whole.shape, whole.scores.sum(axis=0), whole.variation)
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=0, atol=1e-10)
    sums = merge_scores(second_pass(LAYOUT, ROWS, whole))
    assert sums is not None
    plain = covariance(theirs, sums.unit)
    assert np.isfinite(plain).all()
    np.testing.assert_allclose(
        covariance(ours, second_moments(LAYOUT, small, fitted)), plain, rtol=1e-8, atol=1e-14
    )


def test_row_order_does_not_show():
    order = np.random.default_rng(1).permutation(ROWS.n)
    ours, theirs = (
        digest(LAYOUT, accumulate_compressed(LAYOUT, compress(LAYOUT, rows)))
        for rows in (ROWS, ROWS.take(order))
    )
    assert ours == theirs


def test_rows_that_never_repeat_stay_as_they_are():
    rows = make_rows(Size(n=500))
    layout = make_layout(rows)
    small = compress(layout, rows)
    assert small.rows.n == 500
    assert (small.n == 1).all()


def test_unlike_rows_with_equal_hashes_stay_apart(monkeypatch):
    plain = compress(LAYOUT, ROWS)
    monkeypatch.setattr(module, "_mix", lambda keys: np.zeros(len(keys[0]), dtype=np.uint64))
    forced = compress(LAYOUT, ROWS)
    assert forced.rows.n == plain.rows.n
    np.testing.assert_array_equal(np.sort(forced.n), np.sort(plain.n))


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_both_zeros_and_all_nans_are_one_value(zero):
    x = np.where(ROWS.covariates["x0"] == 0.0, zero, ROWS.covariates["x0"])  # type: ignore[arg-type]
    rows = replace(ROWS, covariates={**ROWS.covariates, "x0": x})
    assert compress(LAYOUT, rows).rows.n == compress(LAYOUT, ROWS).rows.n
