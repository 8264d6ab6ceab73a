"""From sums to estimates: hand calculations, repetitions, joint bands, faults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from estimators.inference import Estimate, FamilySums, estimate, solve
from tests.estimators.samples import (
    Size,
    bucket,
    build,
    crossfit,
    effect,
    estimates,
    family_sums,
    run,
    solved,
    trio,
)


def family(theta, covariance, clusters=None) -> FamilySums:
    """Sums whose solution is `theta` with `covariance`: a = -1, b = theta, one cell an effect."""
    theta = np.asarray(theta, dtype=float)
    size = len(theta)
    bb = np.asarray(covariance, dtype=float) + np.outer(theta, theta)
    unit = np.stack([np.ones((size, size)), -np.tile(theta, (size, 1)), bb])
    counts = None if clusters is None else np.asarray(clusters)
    cluster = None
    if counts is not None:
        factor = np.sqrt(counts / (counts - 1.0))
        cluster = unit.copy()
        cluster[2] = covariance / np.outer(factor, factor) + np.outer(theta, theta)
    return FamilySums(
        tuple(f"e{i}" for i in range(size)), np.arange(size), np.zeros(size, dtype=np.int64),
        np.full(size, 100), -np.ones(size), theta.copy(), unit, cluster, counts,
    )  # fmt: skip


def test_two_units_by_hand() -> None:
    """psi_a = -1, -3 and psi_b = 2, 5: theta 7/4, SE sqrt(0.25^2 + 0.25^2)/4."""
    sums = FamilySums(
        ("e",), np.zeros(2, np.int64), np.arange(2), np.ones(2, np.int64),
        np.array([-1.0, -3.0]), np.array([2.0, 5.0]),
        np.array([[[10.0]], [[-17.0]], [[29.0]]]), None, None,
    )  # fmt: skip
    (found,) = estimate([sums], 0.9)
    se = np.sqrt(0.25**2 + 0.25**2) / 4
    assert found.theta == 1.75
    assert found.se == pytest.approx(se, rel=1e-14)
    assert found.ci_high == pytest.approx(1.75 + 6.313751514675043 * se, rel=1e-12), "t(1)"
    assert found.p_value == pytest.approx(2 * stats.t.sf(1.75 / se, 1), rel=1e-12)
    assert (found.band_low, found.band_high) == (found.ci_low, found.ci_high)
    assert found.p_adjusted == found.p_value


def test_clusters_by_hand() -> None:
    """Cells (0, 0, 1) with values theta a + b: sums by cluster squared, times 2/1."""
    a, b = np.array([-1.0, -2.0, -1.0]), np.array([0.5, 2.5, 1.5])
    theta = 4.5 / 4
    s = theta * a + b
    unit = np.array([[[a @ a]], [[a @ b]], [[b @ b]]])
    sums = FamilySums(
        ("e",), np.zeros(3, np.int64), np.array([0, 0, 1]), np.ones(3, np.int64), a, b, unit,
        None, np.array([2]),
    )  # fmt: skip
    (found,) = estimate([sums], 0.95)
    meat = (s[0] + s[1]) ** 2 + s[2] ** 2
    assert found.se == pytest.approx(np.sqrt(2 * meat) / 4, rel=1e-14)
    assert found.se_hc0 == pytest.approx(np.sqrt(s @ s) / 4, rel=1e-14)
    assert found.ci_high == pytest.approx(theta + stats.t.ppf(0.975, 1) * found.se, rel=1e-12)


@pytest.mark.parametrize(
    ("thetas", "ses", "median", "se"),
    [
        # odd: median 1; spreads .04+.25, .09+0, .01+4 -> median .29
        ((0.5, 1.0, 3.0), (0.2, 0.3, 0.1), 1.0, 0.29**0.5),
        # even: median 1.5; spreads 1+.25, 4+.25, 1+.25, 1+6.25 -> median (1.25+4.25)/2
        ((1.0, 2.0, 1.0, 4.0), (1.0, 2.0, 1.0, 1.0), 1.5, 2.75**0.5),
    ],
)
def test_median_over_repetitions(thetas, ses, median, se) -> None:
    sums = [family([t], [[s * s]]) for t, s in zip(thetas, ses, strict=True)]
    (found,) = estimate(sums, 0.95)
    assert found.theta == pytest.approx(median, rel=1e-14)
    assert found.se == pytest.approx(se, rel=1e-14)


def test_repetitions_end_to_end() -> None:
    """The median rule on a real cross-fit, from each repetition's own solution."""
    units = build(31, Size(200, k=4, reps=5))
    spec = effect()
    _, sums = crossfit(units, (spec,))
    alone = [solve(each) for each in family_sums(units, sums)[None]]
    theta = np.array([each.theta[0] for each in alone])
    variance = np.array([each.covariance[0, 0] for each in alone])
    assert len(set(theta.tolist())) == 5
    found = estimates(units, sums)[spec.effect_id]
    assert found.theta == np.median(theta)
    spread = variance + (theta - np.median(theta)) ** 2
    assert found.se == pytest.approx(np.sqrt(np.median(spread)), rel=1e-13)


@pytest.mark.parametrize("layout", ["units", "clusters", "buckets"])
@pytest.mark.parametrize("grouped", [False, True])
def test_covariances_between_effects(layout: str, grouped: bool) -> None:
    """Off the diagonal too: from the unit scores of PLR, ATE and ATT, which differ in psi_a."""
    size = Size(240, k=4, clusters=None if layout == "units" else 60, groups=2)
    units = build(36, size, weighted=True)
    units = bucket(units) if layout == "buckets" else units
    specs = trio(by=(("g",),)) if grouped else trio()
    _, sums = crossfit(units, specs)
    family = family_sums(units, sums)["g" if grouped else None][0]
    found = solve(family)
    codes = units.groups["g"].codes
    columns = []
    for name in family.ids:
        base, _, group = name.partition("@g=")
        mine = codes == int(group[1:]) if group else np.ones(units.n, dtype=bool)
        score = next(each for each in sums[0].scores if each.effect_id == base)
        a, b = (units.weight * each * mine for each in (score.psi_a, score.psi_b))
        theta = -b.sum() / a.sum()
        columns.append((theta * a + b) / a.sum())
    influence = np.stack(columns, axis=1)
    hc0 = influence.T @ influence
    expected = hc0
    if layout != "units":
        by_cluster = np.zeros((60, influence.shape[1]))
        np.add.at(by_cluster, units.cluster, influence)
        factor = np.sqrt(family.clusters / (family.clusters - 1.0))
        expected = by_cluster.T @ by_cluster * np.outer(factor, factor)
        if layout == "buckets" and grouped:
            # Moments are kept within groups: between groups of one cluster they count as zero.
            groups = np.array([name.partition("@")[2] for name in family.ids])
            expected = np.where(groups[:, None] == groups[None, :], expected, 0.0)
    assert found.covariance == pytest.approx(expected, rel=1e-9, abs=1e-9 * expected.max())
    assert found.hc0 == pytest.approx(hc0, rel=1e-9, abs=1e-9 * hc0.max())
    assert np.abs(np.diagonal(expected, 1)).min() > 1e-3 * expected.max() or grouped


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("clusters", [None, 9])
def test_bands_lie_between_interval_and_bonferroni(rho: float, clusters) -> None:
    size = 6
    theta = np.linspace(0.1, 3.0, size)
    scale = np.linspace(0.5, 2.0, size)
    correlation = np.full((size, size), rho) + (1 - rho) * np.eye(size)
    counts = None if clusters is None else [clusters] * size
    found = estimate([family(theta, correlation * np.outer(scale, scale), counts)], 0.95)
    df = np.inf if clusters is None else clusters - 1
    bonferroni = stats.t.isf(0.025 / size, df)
    for each, se in zip(found, scale, strict=True):
        interval = (each.ci_high - each.theta) / each.se
        band = (each.band_high - each.theta) / each.se
        assert each.se == pytest.approx(se, rel=1e-6)
        assert interval <= band * (1 + 1e-12)
        assert band <= bonferroni * (1 + 1e-12)
        assert each.band_high - each.theta == pytest.approx(each.theta - each.band_low)
    if rho == 0.0:
        sidak = stats.t.isf(0.5 * (1 - 0.95 ** (1 / size)), df)
        assert band == pytest.approx(sidak, rel=0.03)
    if rho == 1.0:
        assert band == pytest.approx(interval, rel=0.03)


def test_a_group_of_few_clusters_does_not_widen_the_others() -> None:
    """Two clusters have Cauchy tails: theirs is the wide band, nobody else's."""
    plain = estimate([family([1.0, 2.0, 3.0], np.eye(3), [80, 80, 80])], 0.95)
    mixed = estimate([family([1.0, 2.0, 3.0], np.eye(3), [80, 80, 2])], 0.95)
    assert mixed[0].band_high == plain[0].band_high
    bonferroni = stats.t.isf(0.025 / 3, 1)
    assert 12.7 < mixed[2].band_high - 3.0 <= bonferroni * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_stepdown(seed: int) -> None:
    """p_adjusted >= p, monotone in p, <= Bonferroni (with room for draws), and Holm at rho 0."""
    rng = np.random.default_rng(seed)
    size = 5
    theta = rng.normal(0.0, 2.0, size)
    found = estimate([family(theta, np.eye(size))], 0.95)
    raw = np.array([each.p_value for each in found])
    adjusted = np.array([each.p_adjusted for each in found])
    assert (adjusted >= raw).all()
    order = np.argsort(raw)
    assert (np.diff(adjusted[order]) >= 0).all()
    assert (adjusted <= np.minimum(raw * size, 1.0) + 0.02).all()
    # Independent statistics: the stepdown is Sidak's, 1 - (1 - p)^(members left).
    sidak = np.maximum.accumulate(1 - (1 - raw[order]) ** (size - np.arange(size)))
    assert adjusted[order] == pytest.approx(sidak, abs=0.02)


def test_perfectly_correlated_tests_need_no_adjustment() -> None:
    found = estimate([family([2.0, 2.0, 2.0], np.ones((3, 3)))], 0.95)
    for each in found:
        assert each.p_adjusted == pytest.approx(each.p_value, abs=0.005)


def test_a_family_of_one_has_its_interval_as_band() -> None:
    units = build(32, Size(240, k=3, clusters=12))
    found = run(units, effect())["plr.slope.d.y"]
    assert (found.band_low, found.band_high) == (found.ci_low, found.ci_high)
    assert found.p_adjusted == found.p_value


def test_bands_use_the_mean_correlation_over_repetitions() -> None:
    one, zero = np.ones((2, 2)), np.eye(2)
    half = np.array([[1.0, 0.5], [0.5, 1.0]])
    mixed = estimate([family([1.0, 2.0], one), family([1.0, 2.0], zero)], 0.95)
    assert mixed == estimate([family([1.0, 2.0], half)] * 2, 0.95)


def test_bands_do_not_depend_on_effects_that_failed() -> None:
    good = family([1.0, 2.0], np.eye(2))
    alone = estimate([good], 0.95)
    bad = family([1.0, 2.0, 0.0], np.diag([1.0, 1.0, 0.0]))
    with_bad = estimate([bad], 0.95)
    assert with_bad[:2] == alone
    assert with_bad[2] == Estimate("e2", 100, None, error_code="no_variation")


def test_without_draws_there_are_no_bands() -> None:
    found = estimate([family([1.0, 2.0], np.eye(2))], 0.95, drawn=False)
    assert [each.band_low for each in found] == [None, None]
    assert [each.p_adjusted for each in found] == [None, None]
    assert found[0].ci_low == pytest.approx(1.0 - 1.959963984540054)


def test_level() -> None:
    wide, narrow = (estimate([family([1.0, 2.0], np.eye(2))], level) for level in (0.99, 0.5))
    assert wide[0].ci_high - 1 == pytest.approx(stats.norm.isf(0.005), rel=1e-6)
    assert narrow[0].ci_high - 1 == pytest.approx(stats.norm.isf(0.25), rel=1e-6)
    assert wide[0].band_high > narrow[0].band_high


@pytest.mark.parametrize(
    ("a", "code"), [([0.0, 0.0], "no_variation"), ([np.nan, 1.0], "no_variation")]
)
def test_faults_of_theta(a, code) -> None:
    sums = replace(family([1.0], [[1.0]]), column=np.zeros(2, np.int64), cell=np.arange(2),
                   n=np.array([1, 1]), a=np.array(a), b=np.array([1.0, 2.0]))  # fmt: skip
    (found,) = estimate([sums], 0.95)
    assert found == Estimate("e0", 2, None, error_code=code)


@pytest.mark.parametrize("reps", [1, 2, 3])
def test_one_cluster_is_too_few(reps: int) -> None:
    units = build(33, Size(60, k=3, clusters=6, groups=2))
    # One group within one cluster, the rest in the other.
    codes = (units.cluster != 4).astype(np.int64)
    units = replace(units, groups={"g": replace(units.groups["g"], codes=codes)})
    spec = effect(by=(("g",),))
    _, sums = crossfit(units, (spec,))
    found = estimate(family_sums(units, sums)["g"] * reps, 0.95)
    assert found[0] == Estimate("plr.slope.d.y@g=g0", 10, 1, error_code="too_few_clusters")
    assert found[1].error_code is None
    assert found[1].n_clusters == 5


def test_constant_effects_have_no_variance_to_report() -> None:
    units = build(34, Size(80))
    zero = dict.fromkeys(("l", "m", "g0", "g1"), np.zeros(80))
    still = replace(units, outcomes={"y": np.zeros(80)})
    found = solved(still, effect(), zero)["plr.slope.d.y"]
    assert found.error_code == "no_variation"
    assert found.theta is None


def test_groups_without_the_treated_fail_alone() -> None:
    units = build(35, Size(200, k=4, groups=2))
    codes = np.where(units.treatments["d"] == 1, 0, units.groups["g"].codes)
    units = replace(units, groups={"g": replace(units.groups["g"], codes=codes)})
    found = run(units, *trio(by=(("g",),)))
    assert found["irm.att.d.y@g=g1"].error_code == "no_variation"
    assert found["irm.att.d.y@g=g0"].error_code is None


def arm_mean(level: float, *, units_in_a_cell: int = 1, clusters: bool = False) -> FamilySums:
    """Sums of a mean at this level, of 400 units with scores of spread one."""
    psi = level + np.random.default_rng(6).standard_normal(400)
    size, cell = 400 // units_in_a_cell, np.arange(400) // units_in_a_cell
    unit = np.array([400.0, -psi.sum(), psi @ psi]).reshape(3, 1, 1)
    return FamilySums(
        ("e",), np.zeros(size, np.int64), np.arange(size), np.full(size, units_in_a_cell),
        np.full(size, -float(units_in_a_cell)), np.bincount(cell, psi), unit, None,
        np.array([size]) if clusters else None,
    )  # fmt: skip


@pytest.mark.parametrize("level", [1e7, 1e9, 1e12])
def test_a_large_mean_has_the_se_of_its_spread(level: float) -> None:
    """Second moments round to anything (an SE of 0.9 or of none): the scores tell."""
    (small,), (large,) = (estimate([arm_mean(each)], 0.95) for each in (1.0, level))
    assert large.se == pytest.approx(small.se, rel=2e-3 if level == 1e12 else 1e-5)
    assert large.theta - level == pytest.approx(small.theta - 1.0, abs=1e-3)


def test_where_only_moments_are_left_there_is_no_se_of_rounding() -> None:
    """Buckets of units: no SE. Clusters have their own, and no unclustered one beside it."""
    (found,) = estimate([arm_mean(1e9, units_in_a_cell=4)], 0.95)
    assert found == Estimate("e", 400, None, error_code="no_variation")
    (found,) = estimate([arm_mean(1e9, units_in_a_cell=4, clusters=True)], 0.95)
    (small,) = estimate([arm_mean(1.0, units_in_a_cell=4, clusters=True)], 0.95)
    assert found.se == pytest.approx(small.se, rel=1e-5)
    assert found.se_hc0 is None
    assert small.se_hc0 is not None


@pytest.mark.parametrize("n", [2, 3, 10, 49, 50])
def test_few_units_have_t_quantiles(n: int) -> None:
    """Two units of a group gave p = 0, as if they were many; from 50 on they are."""
    few = replace(family([1.0, 2.0], np.eye(2)), n=np.full(2, n))
    degrees = n - 1 if n < 50 else np.inf
    for each in estimate([few], 0.95):
        width = (each.ci_high - each.ci_low) / 2
        assert width / each.se == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-12)
        assert each.p_value == pytest.approx(2 * stats.t.sf(each.theta / each.se, degrees))
        assert each.band_high >= each.ci_high


@pytest.mark.parametrize("n", [2, 10, 40])
def test_small_samples_are_covered(n: int) -> None:
    """The mean of a few normal values: by normal quantiles .60, .90 and .94 were."""
    rng, covered, times = np.random.default_rng(n), 0, 2_000
    for _ in range(times):
        psi = rng.standard_normal(n)
        unit = np.zeros((3, 1, 1))
        unit[0], unit[1], unit[2] = n, -psi.sum(), (psi**2).sum()
        sums = replace(family([0.0], np.eye(1)), n=np.array([n]), a=np.array([-float(n)]),
                       b=np.array([psi.sum()]), unit=unit)  # fmt: skip
        (found,) = estimate([sums], 0.95, drawn=False)
        covered += found.ci_low <= 0.0 <= found.ci_high
    assert covered / times > {2: 0.91, 10: 0.92, 40: 0.935}[n]
