"""Effects and their variances against a plain scikit-learn DML on the same folds and penalty."""

from dataclasses import replace

import numpy as np
import pytest

from estimators.gram.accumulate import accumulate
from estimators.gram.blas import Doubles
from estimators.gram.columns import Rows, coded
from estimators.gram.inference import Effects, covariance, second_of, solve
from estimators.gram.layout import Layout
from estimators.gram.moments import Fitted, cluster_scores, fit_all
from estimators.gram.pinning import Choice
from estimators.gram.scores import ScoreSums, merge_scores, second_pass
from tests.estimators.gram.world import Size, copied, make_layout, make_rows, plain_residuals

ROWS = make_rows()
LAYOUT = make_layout(ROWS)
PENALTY = 1e-3


def estimated(
    layout: Layout, rows: Rows, *, joint: bool = True
) -> tuple[Fitted, Effects, ScoreSums]:
    fitted = fit_all(layout, accumulate(layout, rows), [PENALTY])
    effects = solve(fitted.shape, fitted.scores.sum(axis=0), fitted.variation, joint=joint)
    sums = merge_scores(second_pass(layout, rows, fitted, clustered=True))
    assert sums is not None
    return fitted, effects, sums


def plain(layout: Layout, rows: Rows, outcome: str) -> tuple[Doubles, Doubles, Doubles]:
    """Theta, HC0 and clustered covariance of one outcome: row by row, nothing shared."""
    observed = ~np.isnan(rows.outcomes[outcome])
    v, u = plain_residuals(layout, rows, observed, [outcome], PENALTY)
    weight, place = rows.weight[observed], rows.place[observed]
    bread = np.linalg.inv((v * weight) @ v.T)
    theta = bread @ ((v * weight) @ u[0])
    scores = v * weight * (u[0] - theta @ v)
    clusters, index = np.unique(place, return_inverse=True)
    sums = np.stack([np.bincount(index, weights=row) for row in scores])
    factor = len(clusters) / (len(clusters) - 1.0)
    return theta, bread @ scores @ scores.T @ bread, factor * bread @ sums @ sums.T @ bread


@pytest.mark.parametrize("weighted", [True, False])
def test_every_effect_and_variance_is_the_plain_computation(weighted):
    rows = make_rows(weighted=weighted)
    layout = make_layout(rows)
    fitted, effects, sums = estimated(layout, rows)
    hc0 = covariance(effects, sums.unit)
    clustered = covariance(effects, sums.cluster, sums.clusters)
    assert sums.clusters == 150
    j = len(layout.treatments)
    for m, outcome in enumerate(fitted.shape.outcomes):
        theta, plain_hc0, plain_cluster = plain(layout, rows, outcome)
        own = slice(m * j, (m + 1) * j)
        np.testing.assert_allclose(effects.theta[own], theta, rtol=0, atol=1e-9)
        np.testing.assert_allclose(hc0[own, own], plain_hc0, rtol=1e-9)
        np.testing.assert_allclose(clustered[own, own], plain_cluster, rtol=1e-9)
    np.testing.assert_allclose(sums.total, fitted.scores.sum(axis=0), rtol=1e-9)


def test_two_hundred_columns_a_hundred_pairs():
    rows = make_rows(
        Size(n=4000, numbers=50, treatments=5, outcomes=20, seed=2), weighted=False, gaps=False
    )
    numbers = {name: x for name, x in rows.covariates.items() if name != "carrier"}
    rows = replace(rows, covariates=numbers)
    layout = make_layout(rows, Choice(segments=2), block=1024)
    assert (layout.p, layout.q) == (201, 226)
    fitted, effects, sums = estimated(layout, rows)
    assert len(effects.theta) == 100
    hc0 = covariance(effects, sums.unit)
    for m in (0, 7, 19):
        theta, plain_hc0, _ = plain(layout, rows, f"y{m}")
        own = slice(m * 5, (m + 1) * 5)
        np.testing.assert_allclose(effects.theta[own], theta, rtol=0, atol=1e-9)
        np.testing.assert_allclose(hc0[own, own], plain_hc0, rtol=1e-8)
    assert fitted.quality[0].shape == (25,)


def test_clusters_need_no_second_look():
    by_cluster = replace(LAYOUT, depth=64)
    partials = accumulate(by_cluster, ROWS)
    fitted = fit_all(by_cluster, partials, [PENALTY])
    effects = solve(fitted.shape, fitted.scores.sum(axis=0), fitted.variation)
    clusters, scores = cluster_scores(by_cluster, fitted, partials)
    ours = covariance(effects, second_of(scores), len(clusters))
    _, again, sums = estimated(LAYOUT, ROWS)
    theirs = covariance(again, sums.cluster, sums.clusters)
    np.testing.assert_allclose(effects.theta, again.theta, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-15)


def test_clusters_over_days_are_added():
    by_cluster = replace(LAYOUT, depth=64)
    day = np.random.default_rng(5).integers(0, 3, ROWS.n)
    partials = [
        each
        for offset in range(3)
        for each in accumulate(by_cluster, ROWS.take(day == offset), slice_=offset)
    ]
    whole = accumulate(by_cluster, ROWS)
    fitted = fit_all(by_cluster, whole, [PENALTY])
    ours, theirs = (cluster_scores(by_cluster, fitted, each) for each in (partials, whole))
    assert ours[0] == theirs[0]
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-8, atol=1e-9)


def test_second_moments_do_not_show_row_order_or_batches():
    fitted, _, whole = estimated(LAYOUT, ROWS)
    order = np.random.default_rng(3).permutation(ROWS.n)
    bucket = LAYOUT.buckets(ROWS.place)[order]
    parts = [
        part
        for each in reversed(np.unique(bucket))
        for part in second_pass(LAYOUT, ROWS.take(order[bucket == each]), fitted, clustered=True)
    ]
    sums = merge_scores(parts)
    assert sums is not None
    for name in ("total", "unit", "cluster"):
        assert getattr(sums, name).tobytes() == getattr(whole, name).tobytes()


def test_joint_effects_are_the_truth_and_marginal_ones_are_not():
    size = Size(n=20_000, treatments=2, outcomes=1, seed=7)
    rows = make_rows(size, weighted=False, gaps=False)
    layout = make_layout(rows, block=4096)
    _, joint, sums = estimated(layout, rows)
    _, marginal, _ = estimated(layout, rows, joint=False)
    se = np.sqrt(np.diagonal(covariance(joint, sums.unit)))
    assert (np.abs(joint.theta - [1.0, -0.5]) < 4 * se).all()
    assert abs(marginal.theta[0] - 0.7) < 0.05
    fitted, _, _ = estimated(layout, rows)
    v, u = plain_residuals(layout, rows, np.ones(rows.n, dtype=bool), ["y0"], PENALTY)
    slopes = (v @ u[0]) / (v**2).sum(axis=1)
    np.testing.assert_allclose(marginal.theta, slopes, rtol=0, atol=1e-9)
    influence = v * (u[0] - slopes[:, None] * v) / (v**2).sum(axis=1)[:, None]
    ours = covariance(marginal, sums.unit)
    np.testing.assert_allclose(ours, influence @ influence.T, rtol=1e-9)
    assert fitted.variation.shape == (1, 2)


def test_a_group_is_solved_from_its_own_rows():
    fitted, effects, _ = estimated(LAYOUT, ROWS)
    carrier = ROWS.covariates["carrier"]
    mine = carrier.codes == 1  # type: ignore[union-attr]
    sums = merge_scores(second_pass(LAYOUT, ROWS.take(mine), fitted))
    assert sums is not None
    ours = solve(fitted.shape, sums.total, fitted.variation)
    observed = np.ones(ROWS.n, dtype=bool)
    v, u = plain_residuals(LAYOUT, ROWS, observed, ["y0"], PENALTY)
    v, u, weight = v[:, mine], u[0, mine], ROWS.weight[mine]
    theta = np.linalg.solve((v * weight) @ v.T, (v * weight) @ u)
    np.testing.assert_allclose(ours.theta[:3], theta, rtol=0, atol=1e-9)
    assert np.abs(ours.theta[:3] - effects.theta[:3]).max() > 1e-3


def changed(**treatments: Doubles) -> Rows:
    return replace(ROWS, treatments={**ROWS.treatments, **treatments})


@pytest.mark.parametrize(
    ("treatments", "codes"),
    [
        ({"t1": np.full(ROWS.n, 0.7)}, {"t1": "constant_treatment"}),
        ({"t1": ROWS.covariates["x4"]}, {"t1": "perfectly_predicted"}),
        (
            {"t1": 2.0 * ROWS.treatments["t0"]},
            {"t0": "collinear_treatments", "t1": "collinear_treatments"},
        ),
    ],
)
def test_faulty_treatments_are_named_and_the_others_estimated(treatments, codes):
    rows = changed(**treatments)
    layout = make_layout(rows)
    penalty = [1e-12]  # a penalty leaves some of a perfectly predicted treatment
    fitted = fit_all(layout, accumulate(layout, rows), penalty)
    effects = solve(fitted.shape, fitted.scores.sum(axis=0), fitted.variation)
    sums = merge_scores(second_pass(layout, rows, fitted))
    assert sums is not None
    variance = np.diagonal(covariance(effects, sums.unit))
    for i, (treatment, _) in enumerate(fitted.shape.effects):
        assert effects.faults[i] == codes.get(treatment)
        assert np.isnan(effects.theta[i]) == (treatment in codes)
        assert np.isnan(variance[i]) == (treatment in codes)
    kept = replace(
        rows, treatments={n: d for n, d in rows.treatments.items() if codes.get(n) is None}
    )
    if "t0" in kept.treatments:
        smaller = make_layout(kept)
        other = fit_all(smaller, accumulate(smaller, kept), penalty)
        theta = solve(other.shape, other.scores.sum(axis=0), other.variation).theta
        np.testing.assert_allclose(effects.theta[~np.isnan(effects.theta)], theta, atol=1e-7)


def test_weights_are_copies_for_theta_and_not_for_the_variance():
    rows = make_rows(Size(n=900), weighted=False)
    layout = make_layout(rows)
    _, weighted, sums = estimated(layout, replace(rows, weight=np.full(rows.n, 3.0)))
    _, thrice, more = estimated(layout, copied(rows, 3))
    np.testing.assert_allclose(weighted.theta, thrice.theta, rtol=0, atol=1e-9)
    ratio = np.diagonal(covariance(weighted, sums.unit)) / np.diagonal(
        covariance(thrice, more.unit)
    )
    np.testing.assert_allclose(ratio, 3.0, rtol=1e-9)


def test_outcomes_in_other_units_give_effects_in_other_units():
    moved = {name: 3.0 - 2.5 * y for name, y in ROWS.outcomes.items()}
    _, plainly, _ = estimated(LAYOUT, ROWS)
    rows = replace(ROWS, outcomes=moved)
    _, scaled, _ = estimated(make_layout(rows), rows)
    np.testing.assert_allclose(scaled.theta, -2.5 * plainly.theta, rtol=0, atol=1e-9)


def test_quality_and_naive_slopes_are_those_of_the_rows():
    fitted, _, _ = estimated(LAYOUT, ROWS)
    observed = np.ones(ROWS.n, dtype=bool)
    v, u = plain_residuals(LAYOUT, ROWS, observed, ["y0", "y1"], PENALTY)
    columns = np.stack([*ROWS.treatments.values(), ROWS.outcomes["y0"], ROWS.outcomes["y1"]])
    baseline = np.zeros(5)
    for fold in range(5):
        test = ROWS.fold == fold
        mean = np.average(columns[:, ~test], weights=ROWS.weight[~test], axis=1)
        baseline += ((columns[:, test] - mean[:, None]) ** 2 * ROWS.weight[test]).sum(axis=1)
    error = (np.vstack([v, u]) ** 2 * ROWS.weight).sum(axis=1)
    np.testing.assert_allclose(fitted.quality[0], 1.0 - error / baseline, rtol=0, atol=1e-10)
    d, y = ROWS.treatments["t1"], ROWS.outcomes["y0"]
    slope = np.polyfit(d, y, 1, w=np.sqrt(ROWS.weight))[0]
    assert fitted.naive[0, 1] == pytest.approx(slope, abs=1e-10)


def test_a_new_label_and_a_new_gap_are_counted_not_refused():
    later = replace(
        ROWS,
        covariates={**ROWS.covariates, "carrier": coded(["ZZ"] * 10 + ["AA"] * (ROWS.n - 10))},
    )
    partials = accumulate(LAYOUT, later)
    strays = sum((each.sums.strays for each in partials), np.zeros(6, dtype=np.int64))
    assert dict(zip(LAYOUT.basis.covariates, strays.tolist(), strict=True))["carrier"] == 10
