import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from estimators.debias.calibration import calibration_rows
from estimators.debias.correction import apply_batches
from estimators.debias.density import Kernel, exact_score, grid_score, log_density, scott
from estimators.debias.linear import fit_linear
from estimators.debias.tweedie import (
    MOST_NODES,
    NODES,
    cell_sums,
    fit_tweedie,
    weighted_sum,
)
from estimators.debias.uncertainty import draw_covariance, total_se, tweedie_draws
from tests.estimators.debias.samples import calibration, channel

CASES = json.loads((Path(__file__).parent / "data" / "unshrink.json").read_text())["cases"]
CASE = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def _fit(case: dict, density: str = "scott"):
    rows = calibration_rows(case["calibration_prediction"], case["calibration_truth"])
    return fit_tweedie(rows, density=density)  # type: ignore[arg-type]


@CASE
def test_parity_with_unshrink_on_the_grid(case: dict) -> None:
    fitted, expected = _fit(case), case["tweedie_scott"]
    assert fitted.sigma == pytest.approx(expected["sigma"], abs=1e-12)
    assert np.max(np.abs(fitted.apply(case["prediction"]) - expected["corrected"])) < 2e-3


@CASE
def test_parity_with_unshrink_with_the_exact_density(case: dict) -> None:
    # `unshrink` takes the score as a central difference of log p over its delta.
    fitted, expected = _fit(case), case["tweedie_scott"]
    found = fitted.apply_exactly(case["prediction"], delta=expected["delta"])
    assert np.max(np.abs(found - expected["corrected"])) < 1e-6


@CASE
def test_the_difference_to_the_derivative_is_unshrinks_delta_alone(case: dict) -> None:
    # The central difference is off by delta^2/6 (log p)''': ours falls with delta^2, theirs is it.
    fitted, delta = _fit(case), case["tweedie_scott"]["delta"]
    exact = fitted.apply_exactly(case["prediction"])
    theirs = np.array(case["tweedie_scott"]["corrected"])
    gap = np.max(np.abs(theirs - exact))
    assert gap < 5e-6
    finer = np.max(np.abs(fitted.apply_exactly(case["prediction"], delta=delta / 2.0) - exact))
    assert finer == pytest.approx(gap / 4.0, rel=0.02)


@pytest.mark.parametrize("density", ["preserving", "scott"])
@CASE
def test_grid_error_within_the_calibrated_range(case: dict, density: str) -> None:
    fitted = _fit(case, density)
    rows = np.linspace(fitted.low, fitted.high, 50_001)
    assert np.max(np.abs(fitted.apply(rows) - fitted.apply_exactly(rows))) < 2e-3
    assert fitted.grid.cells + 1 >= NODES


def test_plain_scott_is_scipys_density() -> None:
    from scipy.stats import gaussian_kde

    generator = np.random.default_rng(1)
    points, weight = generator.standard_normal(300), generator.random(300)
    kernel = scott(points, weight / weight.sum(), preserve=False)
    rows = np.linspace(-4.0, 4.0, 41)
    oracle = gaussian_kde(points, weights=weight)
    assert np.allclose(log_density(rows, kernel), oracle.logpdf(rows), atol=1e-10)


def test_the_preserving_density_keeps_mean_and_variance() -> None:
    generator = np.random.default_rng(2)
    points = generator.standard_exponential(500)
    share = np.full(500, 1.0 / 500)
    kernel = scott(points, share, preserve=True)
    variance = kernel.points.var() + kernel.bandwidth**2
    assert kernel.points.mean() == pytest.approx(points.mean())
    assert variance == pytest.approx(points.var(), rel=1e-3)
    wide = scott(points, share, preserve=False)
    assert wide.points.var() + wide.bandwidth**2 > 1.05 * points.var()


def test_the_score_is_the_derivative_of_the_log_density() -> None:
    generator = np.random.default_rng(3)
    kernel = scott(generator.standard_normal(200), np.full(200, 1 / 200), preserve=True)
    rows, step = np.linspace(-3.0, 3.0, 31), 1e-5
    slope = (log_density(rows + step, kernel) - log_density(rows - step, kernel)) / (2 * step)
    assert np.allclose(exact_score(rows, kernel), slope, atol=1e-7)


def test_a_gap_in_the_density_is_bridged() -> None:
    points = np.concatenate([np.linspace(-50.0, -49.0, 50), np.linspace(49.0, 50.0, 50)])
    kernel = Kernel(points, np.full(100, 0.01), 0.3)
    step = 100.0 / 4_999
    found = grid_score(-50.0, step, 5_000, kernel)
    exact = exact_score(-50.0 + step * np.arange(5_000), kernel)
    assert np.all(np.isfinite(found))
    assert np.max(np.abs(found - exact)) < 1e-2 * np.max(np.abs(exact))


def test_a_point_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="grid"):
        grid_score(0.0, 0.1, 11, Kernel(np.array([0.5, 1.2]), np.array([0.5, 0.5]), 0.2))


def test_a_row_far_out_refines_the_grid() -> None:
    rows = calibration(2_000, np.random.default_rng(4))
    prediction, truth = rows.prediction.copy(), rows.truth.copy()
    prediction[0] = truth[0] = 60.0
    fitted = fit_tweedie(calibration_rows(prediction, truth))
    assert NODES < fitted.grid.cells + 1 <= MOST_NODES
    inside = np.linspace(-5.0, 5.0, 4_001)
    assert np.max(np.abs(fitted.apply(inside) - fitted.apply_exactly(inside))) < 5e-3


def test_normal_predictions_are_corrected_as_by_lcc() -> None:
    # Row by row a kernel's score is noisy; an effect averages the noise away.
    generator = np.random.default_rng(5)
    rows = calibration(200_000, generator)
    tweedie, line = fit_tweedie(rows), fit_linear(rows)
    low, high = (channel(generator.normal(mean, 1.5, 100_000), generator) for mean in (-1.0, 1.0))
    effect = tweedie.apply(high).mean() - tweedie.apply(low).mean()
    assert effect == pytest.approx(line.apply(high).mean() - line.apply(low).mean(), abs=0.02)
    assert effect > 1.5 * (high.mean() - low.mean())
    # The minus sign pushes outwards.
    assert tweedie.apply(np.array([-3.0, 3.0])) == pytest.approx([-5.0, 5.0], abs=0.3)


def test_beyond_the_calibrated_range_the_line_is_gentle() -> None:
    rows = calibration(500, np.random.default_rng(6))
    fitted = fit_tweedie(rows)
    gain = 1.0 + fitted.sigma**2 / rows.prediction.var()
    far = fitted.apply(np.array([fitted.high + 1.0, fitted.high + 3.0]))
    assert (far[1] - far[0]) / 2.0 == pytest.approx(gain, rel=1e-9)
    edge = fitted.apply(np.array([fitted.high - 1e-12, fitted.high + 1e-12]))
    assert edge[0] == pytest.approx(edge[1], abs=1e-6)


def test_batches_of_any_length_give_the_same_bytes() -> None:
    rows = 3.0 * np.random.default_rng(7).standard_normal(50_001)
    rows[[3, 40_000]] = np.nan
    fitted = fit_tweedie(calibration(200, np.random.default_rng(8)))
    whole = fitted.apply(rows)
    cuts = [0, 1, 3, 20_000, 20_007, 50_001]
    parts = [pa.array(rows[a:b]) for a, b in itertools.pairwise(cuts)]
    assert np.concatenate(list(apply_batches(fitted, parts))).tobytes() == whole.tobytes()
    assert np.flatnonzero(np.isnan(whole)).tolist() == [3, 40_000]
    assert fitted.apply(np.empty(0)).shape == (0,)
    assert np.isnan(fitted.apply(pa.array([1.0, None]))).tolist() == [False, True]


def test_draws_follow_from_sums_by_cell() -> None:
    generator = np.random.default_rng(9)
    rows = calibration(400, generator)
    fitted = fit_tweedie(rows)
    prediction = 2.0 * generator.standard_normal(5_000)
    weight = generator.standard_normal(5_000)
    totals = cell_sums(fitted.grid, prediction, weight)
    parts = cell_sums(fitted.grid, prediction[:77], weight[:77])
    parts = parts + cell_sums(fitted.grid, prediction[77:], weight[77:])
    assert np.allclose(totals, parts, atol=1e-9)
    draws = tweedie_draws(rows, fitted, np.random.SeedSequence(1), 5)
    for each in (fitted, *draws):
        assert each.grid == fitted.grid
        hidden = float(np.sum(weight * each.apply(prediction)))
        assert weighted_sum(each, totals) == pytest.approx(hidden, abs=1e-7)


def test_draws_depend_on_their_seed_alone() -> None:
    rows = calibration(100, np.random.default_rng(10))
    fitted = fit_tweedie(rows)
    first, again = (tweedie_draws(rows, fitted, np.random.SeedSequence(5), 3) for _ in range(2))
    other = tweedie_draws(rows, fitted, np.random.SeedSequence(6), 3)
    assert [each.slope.tobytes() for each in first] == [each.slope.tobytes() for each in again]
    assert first[0].sigma != other[0].sigma


def test_clusters_are_drawn_whole() -> None:
    rows = calibration(120, np.random.default_rng(11))
    cluster = np.arange(120) // 4
    clustered = calibration_rows(rows.prediction, rows.truth, cluster_id=cluster)
    from estimators.debias.uncertainty import draw_tickets

    tickets = draw_tickets(clustered, np.random.SeedSequence(1), 7)
    assert tickets.shape == (7, 120)
    assert np.all(tickets.reshape(7, 30, 4) == tickets.reshape(7, 30, 4)[:, :, :1])


@pytest.mark.slow
def test_the_spread_over_draws_is_that_over_fresh_calibrations() -> None:
    generator = np.random.default_rng(12)
    prediction = np.concatenate(
        [generator.normal(-0.6, 1.5, 4_000), generator.normal(0.6, 1.5, 4_000)]
    )
    weight = np.repeat([-1.0, 1.0], 4_000) / 4_000

    def effect(rows, seed=None):
        fitted = fit_tweedie(rows)
        totals = cell_sums(fitted.grid, prediction, weight)
        if seed is None:
            return weighted_sum(fitted, totals)
        drawn = [weighted_sum(each, totals) for each in tweedie_draws(rows, fitted, seed, 200)]
        return float(draw_covariance(np.array(drawn)[:, None])[0, 0])

    fresh = np.std([effect(calibration(500, generator)) for _ in range(200)])
    seeds = np.random.SeedSequence(3).spawn(10)
    drawn = np.mean([np.sqrt(effect(calibration(500, generator), seed)) for seed in seeds])
    # 200 fresh calibrations know their spread to 5 %, the mean over ten to some 3 %.
    assert drawn == pytest.approx(fresh, rel=0.17)


def test_total_se_adds_variances() -> None:
    assert total_se(np.array([3.0]), np.array([[16.0]])) == pytest.approx([5.0])
