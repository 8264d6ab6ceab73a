"""Several treatments at once: least squares of residuals on residuals, through all sums."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm
from econml.dml import LinearDML
from econml.inference import StatsModelsInference
from hypothesis import given, settings
from hypothesis import strategies as st

from estimators.cells import sum_moments
from estimators.contrasts import contrasts, solve_family
from estimators.crossfit import Sums
from estimators.inference import estimate, solve
from estimators.joint import JointScores, block_cells, elements, solve_block, solved_scores
from estimators.tallies import Tallies
from estimators.units import Units
from jobs.peers.learners import Looked, LookedTogether
from jobs.sums import cells_table, families, moments_table
from tests.estimators.samples import (
    Size,
    bucket,
    build,
    crossfit,
    effect,
    estimates,
    family_sums,
    predict,
    run,
    take,
)

CLOSE = {"rel": 1e-9, "abs": 1e-12}
NAMES = ("d", "t", "b")
"""Treatments of the block: binary, a dose, and one that the first moves."""


def trio(**changes):
    """A joint fit of three treatments on ``y``."""
    return tuple(effect(treatment=each, joint=NAMES, **changes) for each in NAMES)


def residuals(units: Units, specs=None) -> tuple[np.ndarray, np.ndarray]:
    """``(n, J)`` and ``(n,)`` out-of-fold residuals of the first repetition."""
    specs = specs or trio()
    work, _ = crossfit(units, specs)
    predictions = predict(units, work)[0]
    of = [work.targets[each.effect_id] for each in specs]
    v = [units.treatments[d] - predictions[each["m"]] for d, each in zip(NAMES, of, strict=True)]
    return np.stack(v, axis=1), units.outcomes[specs[0].outcome] - predictions[of[0]["l"]]


def test_pairwise_regression_gives_one_treatment_the_others_effect():
    rng = np.random.default_rng(4)
    units = build(5, Size(n=4_000, k=5))
    x = units.design.values[:, 0]
    d = 0.5 * x + rng.standard_normal(units.n)
    t = 0.8 * d + rng.standard_normal(units.n)
    y = 1.0 * d + 1.0 * t + x + rng.standard_normal(units.n)
    units = replace(units, treatments={"d": d, "t": t}, outcomes={"y": y})
    dose = {"treatment_kind": "continuous"}
    both = [replace(effect(treatment=name, joint=("d", "t")), **dose) for name in ("d", "t")]
    joint, alone = run(units, *both), run(units, replace(effect(), **dose))
    assert joint["plr.slope.d.y"].theta == pytest.approx(1.0, abs=0.06)
    assert joint["plr.slope.t.y"].theta == pytest.approx(1.0, abs=0.06)
    assert alone["plr.slope.d.y"].theta == pytest.approx(1.8, abs=0.06)


@pytest.mark.parametrize("weighted", [False, True])
def test_statsmodels_agrees_without_clusters(weighted):
    units = build(6, Size(n=500, k=4), weighted=weighted)
    found = run(units, *trio())
    v, u = residuals(units)
    theirs = sm.WLS(u, v, weights=units.weight).fit(cov_type="HC0")
    for name, theta, se in zip(NAMES, theirs.params, theirs.bse, strict=True):
        each = found[f"plr.slope.{name}.y"]
        assert (each.theta, each.se) == pytest.approx((theta, se), **CLOSE)


def test_statsmodels_agrees_with_clusters_and_their_factor():
    units = build(7, Size(n=600, k=4, clusters=70), weighted=True)
    found = run(units, *trio())
    v, u = residuals(units)
    options = {"groups": units.cluster, "use_correction": False}
    theirs = sm.WLS(u, v, weights=units.weight).fit(cov_type="cluster", cov_kwds=options)
    factor = np.sqrt(70 / 69)
    for name, theta, se in zip(NAMES, theirs.params, theirs.bse, strict=True):
        each = found[f"plr.slope.{name}.y"]
        assert each.n_clusters == 70
        assert (each.theta, each.se) == pytest.approx((theta, factor * se), **CLOSE)


def test_econml_agrees_on_the_same_predictions():
    units = build(8, Size(n=500, k=4))
    found = run(units, *trio())
    v, u = residuals(units)
    t = np.stack([units.treatments[name] for name in NAMES], axis=1)
    fold = units.fold[:, 0]
    splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(4)]
    model = LinearDML(
        model_y=Looked((units.outcomes["y"] - u)[:, None]), model_t=LookedTogether(t - v), cv=splits
    )
    rows = np.arange(units.n, dtype=float)[:, None]
    model.fit(units.outcomes["y"], t, W=rows, inference=StatsModelsInference(cov_type="HC0"))
    theta, se = np.ravel(model.intercept_), np.ravel(model.intercept__inference().stderr)
    for j, name in enumerate(NAMES):
        each = found[f"plr.slope.{name}.y"]
        assert (each.theta, each.se) == pytest.approx((theta[j], se[j]), **CLOSE)


@pytest.mark.parametrize("clusters", [None, 80])
def test_groups_are_solved_again_and_contrasts_know_the_covariance(clusters):
    units = build(9, Size(n=700, k=4, clusters=clusters, groups=3))
    specs = trio(by=(("g",),))
    _, sums = crossfit(units, specs)
    v, u = residuals(units, specs)
    family = family_sums(units, sums)["g"]
    found = {each.effect_id: each for each in estimate(family, 0.95, drawn=False)}
    for code, value in enumerate(units.groups["g"].values):
        mine = units.groups["g"].codes == code
        model = sm.OLS(u[mine], v[mine])
        if clusters is None:
            theirs, factor = model.fit(cov_type="HC0"), 1.0
        else:
            owner = units.cluster[mine]
            options = {"groups": owner, "use_correction": False}
            theirs = model.fit(cov_type="cluster", cov_kwds=options)
            size = len(np.unique(owner))
            factor = np.sqrt(size / (size - 1.0))
        ids = [f"plr.slope.{name}.y@g={value}" for name in NAMES]
        for j, name in enumerate(ids):
            each = found[name]
            own = theirs.params[j], factor * theirs.bse[j]
            assert (each.theta, each.se) == pytest.approx(own, **CLOSE)
        solved = solve_family(family)
        pair = (solved.ids.index(ids[0]), solved.ids.index(ids[1]))
        (difference,) = contrasts(solved, [pair], 0.95, None)
        against = theirs.t_test([1.0, -1.0, 0.0])
        expected = float(against.effect[0]), factor * float(against.sd.ravel()[0])
        assert (difference.theta, difference.se) == pytest.approx(expected, **CLOSE)


def test_covariances_with_other_effects_are_those_of_unit_scores():
    """The family of a joint block and an ATE: every pair, from the influence of each unit."""
    units = build(10, Size(n=400, k=4), weighted=True)
    specs = (*trio(), effect("irm", "ate"))
    _, (sums,) = crossfit(units, specs)
    family = solve_family(family_sums(units, [sums])[None])
    by_id = {each.effect_id: each for each in sums.scores}
    phi = []
    for name in family.ids:
        a, b = (units.weight * part for part in (by_id[name].psi_a, by_id[name].psi_b))
        theta = -b.sum() / a.sum()
        phi.append((a * theta + b) / a.sum())
    (solved,) = family.solved
    np.testing.assert_allclose(solved.covariance, np.array(phi) @ np.array(phi).T, rtol=1e-9)


@pytest.mark.parametrize("grouped", [False, True])
def test_buckets_of_clusters_give_the_same_figures(grouped):
    units = build(11, Size(n=600, k=4, clusters=90, groups=2), missing_outcome=0.1)
    by = (("g",),) if grouped else ()
    specs = tuple(effect(treatment=each, outcome="s", joint=NAMES, by=by) for each in NAMES)
    exact, bucketed = run(units, *specs, drawn=False), run(bucket(units), *specs, drawn=False)
    assert set(exact) == set(bucketed)
    for name, each in exact.items():
        other = bucketed[name]
        assert other.n_clusters == each.n_clusters
        figures = (each.theta, each.se, each.se_hc0)
        assert (other.theta, other.se, other.se_hc0) == pytest.approx(figures, **CLOSE)


def test_pooled_windows_are_solved_from_merged_sums():
    """Two windows with clusters in common, their tables put together, as one regression."""
    units = build(12, Size(n=800, k=4, clusters=60))
    parts = [
        take(units, np.flatnonzero(rows)) for rows in (units.cluster < 35, units.cluster >= 25)
    ]
    tables, v, u, cluster = [], [], [], []
    for part in parts:
        _, sums = crossfit(part, trio())
        tables.append((cells_table("key", part, sums), moments_table("key", part, sums)))
        more = residuals(part)
        v.append(more[0])
        u.append(more[1])
        cluster.append(part.cluster)
    cells, moments = (pa.concat_tables(each) for each in zip(*tables, strict=True))
    rows = {}
    for row in moments.to_pylist():
        key = (row["effect_i"], row["effect_j"])
        known = rows.setdefault(key, row | dict.fromkeys(("aa", "ab", "ba", "bb"), 0.0))
        for name in ("aa", "ab", "ba", "bb"):
            known[name] += row[name]
    merged = pa.Table.from_pylist(list(rows.values()), schema=moments.schema)
    found = estimate(families(cells, merged, Tallies([]), clustered=True)[None], 0.95, drawn=False)
    options = {"groups": np.concatenate(cluster), "use_correction": False}
    model = sm.OLS(np.concatenate(u), np.concatenate(v))
    theirs = model.fit(cov_type="cluster", cov_kwds=options)
    robust = model.fit(cov_type="HC0")
    by_id = {each.effect_id: each for each in found}
    for j, name in enumerate(NAMES):
        each = by_id[f"plr.slope.{name}.y"]
        factor = np.sqrt(60 / 59)
        expected = (theirs.params[j], factor * theirs.bse[j], robust.bse[j])
        assert (each.theta, each.se, each.se_hc0) == pytest.approx(expected, **CLOSE)


def test_repetitions_take_the_median_and_bands_are_wider():
    units = build(13, Size(n=500, k=4, reps=3))
    _, sums = crossfit(units, trio())
    each_alone = [estimates(units, [one], drawn=False) for one in sums]
    found = estimates(units, sums)
    for name, each in found.items():
        assert each.theta == np.median([one[name].theta for one in each_alone])
        assert each.band_low < each.ci_low < each.theta < each.ci_high < each.band_high


def test_a_block_writes_its_matrix_row_by_row():
    units = build(14, Size(n=60, k=3))
    rng = np.random.default_rng(2)
    v, u = rng.standard_normal((2, 60)), rng.standard_normal(60)
    block = JointScores(("a", "b"), np.ones(60, dtype=bool), v, u)
    cells = block_cells(units, 0, block, None)
    assert cells.effects == ("a", "b")
    assert cells.a.shape == (60, 4)
    np.testing.assert_allclose(cells.a.sum(axis=0).reshape(2, 2), -(v @ v.T), rtol=1e-12)
    np.testing.assert_allclose(cells.b.sum(axis=0), v @ u, rtol=1e-12)
    for each, expected in zip(
        solved_scores(block, units.weight), np.linalg.solve(v @ v.T, v @ u), strict=True
    ):
        assert -each.psi_b.sum() / each.psi_a.sum() == pytest.approx(expected, **CLOSE)


def test_treatments_that_are_sums_of_others_have_no_effect_and_leave_the_rest_theirs():
    rng = np.random.default_rng(3)
    v = rng.standard_normal((4, 50))
    v[3] = v[0] - 2.0 * v[1]
    u = rng.standard_normal(50)
    found = solve_block(-(v @ v.T), v @ u)
    assert found.own.any(axis=1).tolist() == [False, False, True, False]
    expected = np.linalg.lstsq(v.T, u)[0][2]
    a, b = found.a(-(v @ v.T)), found.b(-(v @ v.T), v @ u)
    assert -b[2] / a[2] == pytest.approx(expected, rel=1e-9)
    assert a[[0, 1, 3]].tolist() == [0.0] * 3


def test_collinear_treatments_fail_together_before_any_fit():
    units = build(15, Size(n=300, k=3))
    units = replace(units, treatments=units.treatments | {"b": 1.0 - units.treatments["d"]})
    work, _ = crossfit(units, (*trio(), effect("irm", "ate")))
    assert work.failed == dict.fromkeys(
        [f"plr.slope.{name}.y" for name in NAMES], "collinear_treatments"
    )
    assert [each.effect_id for each in work.effects] == ["irm.ate.d.y"]


def test_a_constant_treatment_leaves_the_others_a_block():
    units = build(16, Size(n=300, k=3))
    units = replace(units, treatments=units.treatments | {"b": np.ones(units.n)})
    work, sums = crossfit(units, trio())
    assert work.failed == {"plr.slope.b.y": "constant_treatment"}
    two = tuple(effect(treatment=each, joint=("d", "t")) for each in ("d", "t"))
    expected = run(units, *two)
    for name, each in estimates(units, sums).items():
        assert each.theta == pytest.approx(expected[name].theta, **CLOSE)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 2**31 - 1), st.floats(-3, 3), st.floats(0.1, 5))
def test_mixing_the_treatments_mixes_the_effects(seed: int, mix: float, scale: float):
    """V M has theta M^-1 theta, whatever the clusters and weights; a permutation is one such M."""
    units = build(seed, Size(150, k=3, clusters=30, groups=2), weighted=True)
    rng = np.random.default_rng(seed)
    v, u = rng.standard_normal((2, units.n)), rng.standard_normal(units.n)
    rows = np.ones(units.n, dtype=bool)
    change = np.array([[scale, mix], [0.0, 1.0]])
    found = [
        block_estimates(units, JointScores(("a", "b"), rows, part, u))
        for part in (v, change.T @ v, v[::-1])
    ]
    (theta, covariance), (mixed, mixed_covariance), (swapped, swapped_covariance) = found
    inverse = np.linalg.inv(change)
    np.testing.assert_allclose(mixed, inverse @ theta, rtol=1e-8, atol=1e-10)
    expected = inverse @ covariance @ inverse.T
    np.testing.assert_allclose(mixed_covariance, expected, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(swapped, theta[::-1], rtol=1e-10)
    np.testing.assert_allclose(swapped_covariance, covariance[::-1, ::-1], rtol=1e-9)


def block_estimates(units: Units, block: JointScores):
    """Theta and clustered covariance of a block from its sums."""
    sums = Sums(
        0, {}, {None: sum_moments(units, elements(block), None)}, [], [],
        joint={None: [block_cells(units, 0, block, None)]},
    )  # fmt: skip
    ((family,),) = family_sums(units, [sums]).values()
    found = solve(family)
    return found.theta, found.covariance
