"""Contrasts: covariances that clusters share, signs, families, and windows that overlap."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from estimators import contrasts as module
from estimators.contrasts import between
from estimators.drift import CellSeries, influence
from estimators.grouped import grouped_sums
from estimators.inference import holm, solve
from estimators.units import Units
from tests.estimators.samples import (
    Size,
    bucket,
    build,
    crossfit,
    effect,
    family_sums,
    oracle,
    scored,
    summed,
)

PLR = effect()
ATE = effect("irm", "ate")
SIGNED = ("theta",)
SAME = ("se", "se_hc0", "p_value")


def contrasts(families, pairs, level, adjust):
    return module.contrasts(module.solve_family(families), pairs, level, adjust)


def groups_of(units: Units, spec=PLR):
    scores = [scored(units, spec, oracle(units))]
    return [grouped_sums(scores, units.weight, units.cluster, units.groups["g"], "g")]


@pytest.mark.parametrize("clusters", [None, 40])
@pytest.mark.parametrize("spec", [PLR, ATE], ids=["plr", "ate"])
def test_a_contrast_of_groups_is_that_of_a_saturated_regression(clusters, spec) -> None:
    """statsmodels with a slope a group; clusters lie across the groups."""
    units = build(41, Size(1500, k=3, clusters=clusters, groups=3), weighted=True)
    nuisance = oracle(units)
    code = units.groups["g"].codes
    y, d = units.outcomes["y"], units.treatments["d"]
    if spec is PLR:
        y, d = y - nuisance["l"], d - nuisance["m"]
    else:
        g0, g1, m = (nuisance[name] for name in ("g0", "g1", "m"))
        y = g1 - g0 + d * (y - g1) / m - (1 - d) * (y - g0) / (1 - m)
        d = np.ones(units.n)
    x = d[:, None] * (code[:, None] == np.arange(3))
    kind = (
        {"cov_type": "HC0"}
        if clusters is None
        else {
            "cov_type": "cluster",
            "cov_kwds": {"groups": units.cluster, "use_correction": True, "df_correction": False},
        }
    )
    fitted = sm.WLS(y, x, weights=units.weight).fit(**kind)
    theirs = fitted.t_test(np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]]))
    mine = contrasts(groups_of(units, spec), [(0, 1), (1, 2)], 0.95, "holm")
    # statsmodels' factor has (n - 1) / (n - k) beside G / (G - 1).
    n = units.n
    factor = 1.0 if clusters is None else np.sqrt((n - 1) / (n - 3))
    assert [each.theta for each in mine] == pytest.approx(list(theirs.effect), rel=1e-9)
    se = [each.se * factor for each in mine]
    assert se == pytest.approx(list(np.ravel(theirs.sd)), rel=1e-9)


@given(
    seed=st.integers(0, 2**32 - 1),
    clustered=st.booleans(),
    weighted=st.booleans(),
    reps=st.integers(1, 4),
)
@settings(max_examples=25, deadline=None)
def test_swapping_the_sides_changes_the_sign_alone(
    seed: int, clustered: bool, weighted: bool, reps: int
) -> None:
    size = Size(120, k=3, reps=reps, clusters=20 if clustered else None, groups=3)
    units = build(seed, size, weighted=weighted)
    rng = np.random.default_rng(seed)
    families = [
        grouped_sums(
            [scored(units, PLR, oracle(units, int(rng.integers(1000))))],
            units.weight,
            units.cluster,
            units.groups["g"],
            "g",
        )
        for _ in range(reps)
    ]
    (there,) = contrasts(families, [(0, 1)], 0.95, "holm")
    (back,) = contrasts(families, [(1, 0)], 0.95, "holm")
    assert there.theta == -back.theta
    assert [getattr(there, name) for name in SAME] == [getattr(back, name) for name in SAME]
    assert (there.ci_low, there.ci_high) == pytest.approx((-back.ci_high, -back.ci_low), rel=1e-12)


def test_clusters_that_both_sides_share_cancel() -> None:
    """A shock of the cluster moves both groups: the contrast is surer than either side."""
    units = build(42, Size(2000, k=4, clusters=50, groups=2))
    family = groups_of(units, ATE)
    (mine,) = contrasts(family, [(0, 1)], 0.95, "holm")
    (solved,) = (solve(each) for each in family)
    apart = np.sqrt(np.diagonal(solved.covariance).sum())
    assert solved.covariance[0, 1] > 0
    assert mine.se < apart


def test_buckets_of_clusters_show_what_the_groups_share() -> None:
    """Moments between groups are not kept in buckets; the buckets' own sums stand in for them."""
    units = build(43, Size(3000, k=4, clusters=600, groups=2))
    spec = effect("irm", "ate", by=(("g",),))
    nuisance = oracle(units)
    exact = family_sums(units, [summed(units, [scored(units, spec, nuisance)], "g")])["g"]
    wide = bucket(units, 300)
    packed = family_sums(wide, [summed(wide, [scored(wide, spec, nuisance)], "g")], False)["g"]
    packed = [replace_clusters(each, other) for each, other in zip(packed, exact, strict=True)]
    inside, across = (solve(packed[0], across=each).covariance for each in (False, True))
    true = solve(exact[0]).covariance
    assert inside[0, 1] == 0.0
    assert np.diagonal(across) == pytest.approx(np.diagonal(true), rel=1e-9)
    assert across[0, 1] == pytest.approx(true[0, 1], rel=0.5)


def replace_clusters(family, other):
    from dataclasses import replace

    return replace(family, clusters=other.clusters)


def test_effects_of_one_group_are_contrasted_on_the_same_units() -> None:
    units = build(44, Size(500, k=4))
    _, sums = crossfit(units, (PLR, ATE))
    family = family_sums(units, sums)[None]
    (mine,) = contrasts(family, [(0, 1)], 0.95, None)
    phi = []
    for each in sorted(sums[0].scores, key=lambda each: each.effect_id):
        theta = -each.psi_b.sum() / each.psi_a.sum()
        phi.append((each.psi_a * theta + each.psi_b) / each.psi_a.sum())
    assert mine.se == pytest.approx(np.sqrt(((phi[0] - phi[1]) ** 2).sum()), rel=1e-9)
    assert mine.p_adjusted is None


def test_with_repetitions_the_difference_comes_before_the_median() -> None:
    units = build(45, Size(300, k=3, reps=3, groups=2))
    spec = effect(by=(("g",),))
    families = family_sums(units, crossfit(units, (spec,))[1])["g"]
    (mine,) = contrasts(families, [(0, 1)], 0.95, "holm")
    solved = [solve(each) for each in families]
    each_rep = np.array([one.theta[0] - one.theta[1] for one in solved])
    variance = [one.covariance[0, 0] + one.covariance[1, 1] for one in solved]
    middle = np.median(each_rep)
    assert mine.theta == middle
    expected = np.sqrt(np.median(variance + (each_rep - middle) ** 2))
    assert mine.se == pytest.approx(expected, rel=1e-12)


def test_holm_is_that_of_statsmodels() -> None:
    p = np.random.default_rng(3).uniform(0, 0.2, 30)
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)


def test_bands_and_adjusted_p_values_are_those_of_the_contrasts_shown() -> None:
    units = build(46, Size(900, k=3, groups=6))
    family = groups_of(units, ATE)
    pairs = [(i, i + 1) for i in range(5)]
    drawn, bonferroni = (contrasts(family, pairs, 0.95, how) for how in ("romano-wolf", "holm"))
    (alone,) = contrasts(family, [(0, 1)], 0.95, "romano-wolf")
    for one, other in zip(drawn, bonferroni, strict=True):
        assert one.p_value <= one.p_adjusted <= other.p_adjusted + 0.02
        assert one.ci_high < one.band_high <= other.band_high + 1e-12
    assert alone.p_adjusted == alone.p_value
    assert (alone.band_low, alone.band_high) == (alone.ci_low, alone.ci_high)


def test_windows_that_share_clusters_are_contrasted_with_what_they_share() -> None:
    """A year less its first month, and the months apart: the drift test's figures."""
    rng = np.random.default_rng(9)
    cells = np.array([f"d{i:03d}" for i in range(80)])
    b = rng.normal(1.0, 1.0, 80)
    year = influence([CellSeries(cells, -np.ones(80), b)], float(b.mean()), 0.11, 80)
    one = influence([CellSeries(cells[:40], -np.ones(40), b[:40])], b[:40].mean(), 0.15, 40)
    two = influence([CellSeries(cells[40:], -np.ones(40), b[40:])], b[40:].mean(), 0.16, 40)
    first, second, third = between(
        ["year - one", "one - two", "two - one"],
        [(year, one), (one, two), (two, one)],
        0.95,
        "romano-wolf",
    )
    assert first.se < np.hypot(0.11, 0.15), "the month is part of the year"
    assert second.se == pytest.approx(np.hypot(0.15, 0.16), rel=1e-12)
    assert second.theta == -third.theta
    assert second.p_adjusted == pytest.approx(third.p_adjusted, abs=1e-3)
    assert second.n_clusters == 40
