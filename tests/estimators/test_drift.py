"""Drift: the covariance of windows that share clusters, and the size and power of its test."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from estimators.drift import CellSeries, Drift, Influence, correlation, drift, influence

Doubles = NDArray[np.float64]


def means(values: Doubles, cell: NDArray[np.str_]) -> CellSeries:
    """The sums of a mean: psi_a = -1, psi_b = y."""
    return CellSeries(cell, -np.ones(len(values)), values)


def clustered(values: Doubles, cell: NDArray[np.str_]) -> Influence:
    """A mean with its clustered standard error, written out from its definition."""
    n, theta = len(values), float(values.mean())
    names, code = np.unique(cell, return_inverse=True)
    sums = np.bincount(code, weights=values - theta)
    groups = len(names)
    se = float(np.sqrt((sums**2).sum() * groups / (groups - 1)) / n)
    return influence([means(values, cell)], theta, se, groups)


def names(first: int, last: int, size: int) -> NDArray[np.str_]:
    return np.repeat([f"c{i:05d}" for i in range(first, last)], size)


def sample(rng: np.random.Generator, common: Doubles, size: int) -> Doubles:
    return np.repeat(common, size) + rng.normal(size=len(common) * size)


def test_the_variance_of_the_difference_is_that_of_the_differenced_clusters() -> None:
    rng = np.random.default_rng(1)
    days = rng.normal(size=80)
    year, month = sample(rng, days, 5), sample(rng, days[:30], 5)
    now, then = clustered(month, names(0, 30, 5)), clustered(year, names(0, 80, 5))
    found = drift(now, then)
    phi = np.zeros(80)
    phi[:30] = now.phi * np.sqrt(30 / 29)
    phi -= then.phi * np.sqrt(80 / 79)
    assert found.shared == 30
    assert found.se == pytest.approx(float(np.sqrt((phi**2).sum())), rel=1e-12)
    assert found.difference == pytest.approx(now.theta - then.theta)


def test_windows_without_a_common_cluster_are_independent() -> None:
    rng = np.random.default_rng(2)
    now = clustered(rng.normal(size=400), names(0, 100, 4))
    then = clustered(rng.normal(size=400), names(100, 200, 4))
    found = drift(now, then)
    assert (found.correlation, found.shared) == (0.0, 0)
    assert found.se == pytest.approx(np.hypot(now.se, then.se), rel=1e-12)


def test_the_same_data_do_not_drift_and_rounding_is_no_drift() -> None:
    values = np.random.default_rng(3).normal(size=400)
    one = clustered(values, names(0, 100, 4))
    same = drift(one, one)
    assert (same.z, same.p_value) == (0.0, 1.0)
    assert same.correlation == pytest.approx(1.0)
    other = Influence(one.theta * (1 + 1e-12), one.se, one.clusters, one.cell, one.phi)
    assert drift(other, one).p_value > 0.99


def test_a_cell_may_occur_in_several_folds_and_in_any_order() -> None:
    rng = np.random.default_rng(4)
    values, cell = rng.normal(size=300), names(0, 60, 5)
    order = rng.permutation(300)
    whole = clustered(values, cell)
    parts = influence([means(values[order], cell[order])], whole.theta, whole.se, 60)
    assert np.array_equal(whole.cell, parts.cell)
    np.testing.assert_allclose(whole.phi, parts.phi, rtol=1e-12)
    assert whole.phi.sum() == pytest.approx(0.0, abs=1e-15)


def test_repetitions_are_averaged() -> None:
    rng = np.random.default_rng(5)
    cell = names(0, 60, 1)
    one, two = rng.normal(size=60), rng.normal(size=60)
    both = influence([means(one, cell), means(two, cell)], 0.0, 1.0, 60)
    single = [influence([means(each, cell)], 0.0, 1.0, 60).phi for each in (one, two)]
    np.testing.assert_allclose(both.phi, (single[0] + single[1]) / 2, rtol=1e-12)


def test_few_clusters_take_t_quantiles_of_the_smaller_window() -> None:
    rng = np.random.default_rng(6)
    now = clustered(rng.normal(size=80), names(0, 20, 4))
    then = clustered(rng.normal(size=400), names(0, 100, 4))
    found = drift(now, then)
    assert found.degrees == 19
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(found.z), 19))
    many = drift(then, then)
    assert many.degrees == np.inf


def test_unclustered_windows_share_what_units_they_share() -> None:
    rng = np.random.default_rng(7)
    values = rng.normal(size=1000)
    units = names(0, 1000, 1)
    everything = influence([means(values, units)], values.mean(), values.std() / 1000**0.5, None)
    half = values[:500]
    part = influence([means(half, units[:500])], half.mean(), half.std() / 500**0.5, None)
    rho, shared = correlation(part, everything)
    assert shared == 500
    assert rho == pytest.approx(0.5**0.5, abs=0.05)
    assert drift(part, everything).degrees == np.inf


@pytest.mark.parametrize("overlap", [0, 60, 120])
def test_size_is_the_level_whatever_the_overlap(overlap: int) -> None:
    """Under no drift 5 % of the tests reject; without the covariance they would not."""
    rejected = naive = 0
    draws = 2000
    rng = np.random.default_rng([8, overlap])
    for _ in range(draws):
        days = rng.normal(size=240)
        first = 120 - overlap
        now = clustered(sample(rng, days[first : first + 120], 3), names(first, first + 120, 3))
        then = clustered(sample(rng, days[:120], 3), names(0, 120, 3))
        found = drift(now, then)
        rejected += found.p_value < 0.05
        naive += 2 * stats.norm.sf(abs(found.difference) / np.hypot(now.se, then.se)) < 0.05
    error = (0.05 * 0.95 / draws) ** 0.5
    assert rejected / draws == pytest.approx(0.05, abs=4 * error)
    if overlap == 120:
        assert naive / draws < 0.02, "independence would have hidden every drift"


def test_a_drift_is_found_where_windows_share_their_days() -> None:
    """A shift of one naive standard error: hidden from a look, plain to the test."""
    rng = np.random.default_rng(9)
    found: list[Drift] = []
    for _ in range(200):
        days = 3.0 * rng.normal(size=100)
        then = clustered(sample(rng, days, 20), names(0, 100, 20))
        now = clustered(sample(rng, days, 20) + 0.3, names(0, 100, 20))
        found.append(drift(now, then))
    assert np.mean([each.p_value < 0.05 for each in found]) > 0.95


@pytest.mark.parametrize("se", [0.0, -1.0, float("nan")])
def test_no_test_without_a_standard_error(se: float) -> None:
    one = clustered(np.random.default_rng(3).normal(size=40), names(0, 10, 4))
    bad = Influence(one.theta, se, one.clusters, one.cell, one.phi)
    with pytest.raises(ValueError, match="standard error"):
        drift(bad, one)


def test_no_influence_without_a_denominator() -> None:
    empty = CellSeries(names(0, 3, 1), np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="no estimate"):
        influence([empty], 0.0, 1.0, None)
    with pytest.raises(ValueError, match="no sums"):
        influence([], 0.0, 1.0, None)
