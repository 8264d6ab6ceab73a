"""Corrections through cross-fitting, cells and inference, against their closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from estimators.crossfit import plan, summarise
from estimators.debias.calibration import calibration_rows
from estimators.debias.choice import choose, likeness
from estimators.debias.in_study import common_lam, facts_key, fit_predicted, power_of
from estimators.debias.ppi import best_lam, ppi_ate_by_arm, ppi_mean, sums
from estimators.debias.uncertainty import linear_se
from estimators.errors import ContractError
from estimators.learners import Design
from estimators.units import Groups
from tests.estimators.samples import (
    CONSTANT,
    bucket,
    effect,
    estimates,
    from_arrays,
    predict,
    scored,
)

ATE = effect("irm", "ate", outcome_learner=CONSTANT, treatment_learner=CONSTANT)
ATT = replace(ATE, estimand="att")
PLR = replace(ATE, method="plr", estimand="slope")
K = 0.6


def people(n, seed, *, tau=1.0, confounded=0.0, residual=False):
    """Arm, truth and prediction; `residual`: P(Y | Yhat) is stable, so that naive is right."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    d = (rng.random(n) < 1.0 / (1.0 + np.exp(-confounded * x))).astype(np.float64)
    y = tau * d + x + rng.standard_normal(n)
    f = 0.3 + K * y + rng.standard_normal(n)
    if residual:
        f, y = y, y + rng.standard_normal(n)
    return x, d, y, f


def trial(n=900, seed=1, *, clusters=None, groups=0, **given):
    x, d, _, f = people(n, seed, **given)
    cluster = None if clusters is None else np.arange(n) % clusters
    named = {}
    if groups:
        codes = np.random.default_rng(seed).integers(0, groups, n)
        named["g"] = Groups(codes, tuple(f"g{i}" for i in range(groups)))
    design = Design(x[:, None], ("x",), {})
    return from_arrays(design, {"d": d}, {"y": f}, cluster=cluster, groups=named, k=3)


def labels(n=400, seed=2, *, arm=True, **given):
    _, d, y, f = people(n, seed, **given)
    told = np.where(d == 1, "1", "0").astype(object) if arm else None
    return calibration_rows(f, y, arm=told)


def corrected(units, calibration, correct, *bases):
    """Effects of each base as `correct` has them, with what corrects them, and their sums."""
    names = {"auto": ("none", "lcc", "tweedie", "ppi"), "none": ("none",)}
    asked = names.get(correct, ("none", correct))
    effects = tuple(replace(each, correction=name) for each in bases for name in asked)
    told = "d" if calibration.arm is not None else None
    predicted = {"y": fit_predicted("y", "calibration:y:t@3", calibration, correct, treatment=told)}
    units, kept, corrections, facts = choose(units, effects, predicted)
    work = plan(units, kept, corrections)
    predictions = predict(units, work)
    found = [summarise(units, work, rep, each) for rep, each in enumerate(predictions)]
    return units, work, predictions, found, facts


@pytest.mark.parametrize("base", [ATE, ATT, PLR], ids=lambda each: each.effect_id)
@pytest.mark.parametrize("cells", ["units", "clusters", "buckets"])
def test_lcc_has_the_delta_methods_standard_error(base, cells):
    units = trial(clusters=None if cells == "units" else 45)
    units = bucket(units) if cells == "buckets" else units
    units, work, _, found, _ = corrected(units, labels(), "lcc", base)
    line = work.corrections.predicted["y"].fitted["lcc"]
    known = estimates(units, found)
    naive, lcc = known[base.effect_id], known[replace(base, correction="lcc").effect_id]
    assert lcc.theta == pytest.approx(naive.theta / line.slope, rel=1e-10)
    expected = linear_se(lcc.theta, naive.se / line.slope, line)
    assert lcc.se == pytest.approx(expected, rel=1e-10)
    assert lcc.se_hc0 == pytest.approx(
        linear_se(lcc.theta, naive.se_hc0 / line.slope, line), rel=1e-10
    )
    assert lcc.se > 1.01 * naive.se / line.slope, "the calibration's share must show"
    assert (lcc.n, lcc.n_clusters) == (naive.n, naive.n_clusters)


def test_a_group_has_the_calibrations_share_of_its_own_theta():
    base = replace(ATE, by=(("g",),))
    units, work, _, found, _ = corrected(trial(clusters=45, groups=3), labels(), "lcc", base)
    line = work.corrections.predicted["y"].fitted["lcc"]
    known = estimates(units, found)
    for value in ("g0", "g1", "g2"):
        naive = known[f"irm.ate.d.y@g={value}"]
        lcc = known[f"irm+lcc.ate.d.y@g={value}"]
        assert lcc.theta == pytest.approx(naive.theta / line.slope, rel=1e-10)
        expected = linear_se(lcc.theta, naive.se / line.slope, line)
        assert lcc.se == pytest.approx(expected, rel=1e-10)
        assert lcc.n_clusters == naive.n_clusters


@pytest.mark.parametrize("base", [ATE, ATT, PLR], ids=lambda each: each.effect_id)
def test_tweedie_adds_the_variance_over_draws_with_the_nuisances_held(base):
    units, work, predictions, found, _ = corrected(trial(clusters=45), labels(), "tweedie", base)
    spec = next(each for each in work.effects if each.correction == "tweedie")
    predicted = work.corrections.predicted["y"]
    nuisance = {
        name: predictions[0][target] for name, target in work.targets[spec.effect_id].items()
    }
    if base.method == "irm":
        nuisance["m"] = np.clip(nuisance["m"], spec.clip, 1.0 - spec.clip)
    thetas = []
    for draw in predicted.draws:
        column = draw.apply(units.outcomes["y"])
        again = replace(units, outcomes={"y": column})
        scores = scored(again, base, nuisance)
        thetas.append(-scores.psi_b.sum() / scores.psi_a.sum())
    alone = estimates(units, [replace(each, calibration={}) for each in found])[spec.effect_id]
    whole = estimates(units, found)[spec.effect_id]
    assert whole.theta == pytest.approx(alone.theta, rel=1e-12)
    expected = np.sqrt(alone.se**2 + np.var(thetas, ddof=1))
    assert whole.se == pytest.approx(expected, rel=1e-8)
    assert whole.se > 1.01 * alone.se


def test_ppi_is_the_functions_of_its_sums():
    units, work, _, found, facts = corrected(trial(clusters=45), labels(), "ppi", ATE)
    known = estimates(units, found)
    naive, ppi = known["irm.ate.d.y"], known["irm+ppi.ate.d.y"]
    power = work.corrections.powers["d", "y"]
    assert ppi.theta == pytest.approx(power.lam * naive.theta + power.shift, rel=1e-12)
    arms = list(zip(power.labelled, power.unlabelled, strict=True))
    rectifier = sum(
        ppi_mean(*pair, power.lam).se ** 2
        - power.lam**2 * float(pair[1].covariance()[0, 0]) / pair[1].n
        for pair in arms
    )
    assert ppi.se == pytest.approx(np.sqrt((power.lam * naive.se) ** 2 + rectifier), rel=1e-10)
    unadjusted = ppi_ate_by_arm(arms[1], arms[0], power.lam)
    raw = float(power.unlabelled[1].means[0] - power.unlabelled[0].means[0])
    assert power.lam * raw + power.shift == pytest.approx(unadjusted.theta, rel=1e-12)
    assert facts[facts_key("d", "y")]["ppi"]["lam"] == power.lam
    assert 0.2 < power.lam < 0.95


def test_the_common_lambda_is_ppis_own_where_arms_are_alike():
    _, _, y, f = people(300, 5)
    _, _, _, others = people(2000, 6)
    labelled, unlabelled = sums(y, f), sums(others)
    both = common_lam([labelled, labelled], [unlabelled, unlabelled])
    assert both == pytest.approx(best_lam(labelled, unlabelled), rel=1e-12)


def test_ppi_with_lambda_nought_is_labels_alone():
    units, calibration = trial(), labels()
    power = power_of(units, "d", "y", calibration, lam=0.0)
    truth, treated = calibration.truth, calibration.arm == "1"
    assert power.shift == pytest.approx(truth[treated].mean() - truth[~treated].mean())
    variance = sum(
        truth[rows].var() / np.count_nonzero(rows) for rows in (treated, ~treated)
    )  # fmt: skip
    assert power.variance == pytest.approx(variance)


def test_clustered_labels_count_as_clusters():
    _, d, y, f = people(300, 8)
    arm = np.where(d == 1, "1", "0").astype(object)
    twice = [np.concatenate([each, each]) for each in (f, y, arm)]
    owner = np.concatenate([np.arange(300), np.arange(300)])
    units = trial()
    alone = power_of(units, "d", "y", calibration_rows(f, y, arm=arm), lam=0.5)
    pairs = calibration_rows(twice[0], twice[1], arm=twice[2], cluster_id=owner)
    assert power_of(units, "d", "y", pairs, lam=0.5).variance == pytest.approx(alone.variance)


def kept(correct, calibration, units=None):
    _, work, _, _, facts = corrected(units or trial(), calibration, correct, ATE)
    return {each.correction for each in work.effects}, facts[facts_key("d", "y")]


def test_auto_takes_the_correction_that_the_labels_bear_out():
    found, facts = kept("auto", labels(8000))
    assert (found, facts["answer"]) == ({"none", "lcc"}, "correct")
    assert facts["tests"]["none"]["found"] == "wrong"
    assert facts["tests"]["lcc"]["reach"] < 0.1


def test_auto_leaves_a_prediction_alone_that_is_right_as_it_is():
    found, facts = kept("auto", labels(8000, residual=True), trial(residual=True))
    assert (found, facts["answer"]) == ({"none"}, "naive_ok")


def test_auto_withholds_every_correction_where_nothing_was_tested():
    found, facts = kept("auto", labels(arm=False))
    assert (found, facts["answer"]) == ({"none"}, "untested")
    assert facts["tests"] == {}


def test_a_correction_that_is_insisted_on_is_applied_and_its_gate_kept():
    found, facts = kept("lcc", labels(8000, residual=True), trial(residual=True))
    assert found == {"none", "lcc"}
    assert facts["answer"] == "naive_ok"
    assert facts["tests"]["lcc"]["found"] == "wrong"


def test_ppi_without_labelled_arms_is_refused():
    with pytest.raises(ContractError) as caught:
        kept("ppi", labels(arm=False))
    assert caught.value.code == "no_labelled_rows"


def against():
    """A prediction that falls as the truth rises."""
    _, d, y, f = people(400, 3)
    arm = np.where(d == 1, "1", "0").astype(object)
    return calibration_rows(1.0 - f, y, arm=arm)


def test_a_slope_near_nought_is_refused_or_left_out():
    with pytest.raises(ContractError) as caught:
        kept("lcc", against())
    assert caught.value.code == "weak_calibration"
    found, facts = kept("auto", against())
    assert "lcc" not in found
    assert "slope of prediction on truth" in facts["refused"]["lcc"]


@pytest.mark.parametrize(("confounded", "alike"), [(0.0, True), (1.5, False)])
def test_confounded_labels_are_seen_in_their_predictions(confounded, alike):
    design = trial(4000)
    units, work, _, found, _ = corrected(
        design, labels(3000, confounded=confounded), "ppi", ATE
    )  # fmt: skip
    like = likeness(units, work.effects, found[0], work.corrections)["irm+ppi.ate.d.y"]
    assert (abs(like["gap"]) < 3.0 * like["se"]) is alike


def test_predictions_outside_the_calibrated_range_are_counted():
    units = trial()
    beyond = replace(units, outcomes={"y": units.outcomes["y"] + 3.0})
    assert kept("lcc", labels(), units)[1]["outside_share"]["lcc"] < 0.05
    assert kept("lcc", labels(), beyond)[1]["outside_share"]["lcc"] > 0.05


def test_windows_under_one_calibration_share_its_cells():
    cells = [
        corrected(trial(seed=seed), labels(), "lcc", ATE)[3][0].calibration[None][0].cell
        for seed in (1, 7)
    ]
    assert cells[0] == cells[1] == ("calibration:y:t@3:k+", "calibration:y:t@3:k-")


def test_missing_predictions_stay_missing_and_share_their_treatment_model():
    units = trial()
    f = units.outcomes["y"].copy()
    f[::7] = np.nan
    bases = (replace(ATE, drop_missing=True),)
    units, work, _, found, _ = corrected(replace(units, outcomes={"y": f}), labels(), "lcc", *bases)
    known = estimates(units, found)
    assert known["irm+lcc.ate.d.y"].n == known["irm.ate.d.y"].n == int(np.isfinite(f).sum())
    m = {names["m"] for names in work.targets.values()}
    assert len(m) == 1
