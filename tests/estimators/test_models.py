"""Arms, instruments and known propensities: what is fitted, what it recovers, what fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimators import naive
from estimators.checks import IMPLEMENTATIONS, Finding
from estimators.crossfit import plan
from estimators.effects import EffectSpec
from estimators.inference import solve
from estimators.scores import score
from estimators.tallies import Tallies
from estimators.units import Units
from tests.estimators.samples import (
    LINEAR,
    Size,
    build,
    contrast,
    crossfit,
    effect,
    estimates,
    expit,
    family_sums,
    from_arrays,
    instrumented,
    predict,
    run,
    take,
)

few = settings(max_examples=6, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31 - 1)
MEANS = tuple(contrast(arm, None) for arm in "abc")
PAIRS = tuple(contrast(arm, "a") for arm in "bc")


def fits(work) -> int:
    return sum(len(each.targets) for each in work.passes)


def findings(sums, check: str, spec: EffectSpec) -> dict[str, Finding]:
    tallies = Tallies([row for each in sums for row in each.tallies])
    return {each.metric: each for each in IMPLEMENTATIONS[check].run(tallies, spec)}


# --- what is fitted ----------------------------------------------------------------------------


def test_names() -> None:
    assert [each.effect_id for each in MEANS] == [f"apo.mean.arm={arm}.y" for arm in "abc"]
    assert [each.effect_id for each in PAIRS] == ["apo.ate.arm=b.y", "apo.ate.arm=c.y"]
    ids = [each.effect_id for each in instrumented()]
    assert ids == ["pliv.slope.d.y", "pliv.slope.t.y", "iivm.late.d.y"]


def test_a_propensity_and_an_outcome_an_arm() -> None:
    """Contrasts cost nothing more; a second outcome costs its arms alone."""
    units = build(101)
    assert fits(plan(units, MEANS)) == 6
    assert fits(plan(units, (*MEANS, *PAIRS))) == 6
    assert fits(plan(units, (*PAIRS, *(contrast(arm, "a", outcome="z") for arm in "bc")))) == 9


def test_pliv_costs_j_plus_m_fits() -> None:
    """Two treatments, their instrument and two outcomes: five, in one pass."""
    units = build(102)
    specs = tuple(
        effect("pliv", "slope", treatment=treatment, outcome=outcome, instrument="b")
        for treatment in "dt" for outcome in "yz"
    )  # fmt: skip
    work = plan(units, specs)
    assert fits(work) == 5
    assert len(work.passes) == 1


def test_iivm_adds_a_fit_an_arm_of_treatment_and_outcome() -> None:
    units = build(103)
    *_, late = instrumented()
    work = plan(units, (late,))
    assert sorted(work.targets[late.effect_id]) == ["g0", "g1", "m", "r0", "r1"]
    assert {each.arm for each in work.passes} == {None, ("b", 0), ("b", 1)}
    assert len(work.passes) == 3


# --- contrasts ---------------------------------------------------------------------------------


@few
@given(seeds, st.booleans())
def test_contrasts_are_differences_of_arms(seed: int, clustered: bool) -> None:
    """By theta and by the arms' covariance from the cells: no refit, and none is needed."""
    units = build(seed, Size(240, k=3, clusters=40 if clustered else None), weighted=True)
    _, (sums,) = crossfit(units, (*MEANS, *PAIRS))
    solved = solve(family_sums(units, [sums])[None][0])
    place = {name: i for i, name in enumerate(family_sums(units, [sums])[None][0].ids)}
    for spec in PAIRS:
        one, other = place[f"apo.mean.arm={spec.arm}.y"], place["apo.mean.arm=a.y"]
        mine = place[spec.effect_id]
        cov = solved.covariance
        variance = cov[one, one] + cov[other, other] - 2 * cov[one, other]
        difference = solved.theta[one] - solved.theta[other]
        assert solved.theta[mine] == pytest.approx(difference, rel=1e-9, abs=1e-12)
        assert solved.covariance[mine, mine] == pytest.approx(variance, rel=1e-9)


def test_the_control_arm_is_minus_the_contrast() -> None:
    units = build(104)
    there, back = contrast("b", "a"), contrast("a", "b")
    found = run(units, there, back)
    one, other = found[there.effect_id], found[back.effect_id]
    assert one.theta == pytest.approx(-other.theta, rel=1e-10)
    assert one.se == pytest.approx(other.se, rel=1e-10)


def test_two_arms_are_a_binary_treatment() -> None:
    """With the same nuisances, the contrast of the only two arms is the ATE."""
    units = build(105)
    d = units.treatments["d"]
    units = replace(units, treatments={"d": d, "arm=a": 1.0 - d, "arm=b": d})
    ate, pair = effect("irm", "ate"), contrast("b", "a")
    found = run(units, ate, pair)
    one, other = found[ate.effect_id], found[pair.effect_id]
    assert one.theta == pytest.approx(other.theta, rel=1e-6)  # 1 - m is fitted, not computed
    assert one.se == pytest.approx(other.se, rel=1e-6)


def test_naive_figures_of_arms() -> None:
    units = build(106, weighted=True)
    _, sums = crossfit(units, (*MEANS, *PAIRS))
    tallies = Tallies(sums[0].tallies)
    y, w = units.outcomes["y"], units.weight
    raw = {}
    for arm in "abc":
        rows = units.treatments[f"arm={arm}"] == 1
        raw[arm] = np.average(y[rows], weights=w[rows])
        found = naive.value(tallies, f"apo.mean.arm={arm}.y")
        assert found == pytest.approx(raw[arm], rel=1e-12)
    assert naive.value(tallies, "apo.ate.arm=c.y") == pytest.approx(raw["c"] - raw["a"], rel=1e-10)


# --- instruments -------------------------------------------------------------------------------


@few
@given(seeds)
def test_the_treatment_as_its_own_instrument(seed: int) -> None:
    """PLIV with Z = D is PLR, byte for byte of the scores."""
    units = build(seed)
    y, d = units.outcomes["y"], units.treatments["t"]
    x = units.design.values[:, 0]
    own = effect("pliv", "slope", treatment="t", instrument="t")
    a, b = score(own, y, d, {"l": 0.7 * x, "m": 0.4 * x, "r": 0.4 * x}, d)
    other_a, other_b = score(effect(treatment="t"), y, d, {"l": 0.7 * x, "m": 0.4 * x})
    assert a.tobytes() == other_a.tobytes()
    assert b.tobytes() == other_b.tobytes()


@few
@given(seeds, st.floats(-50, 50), st.floats(0.02, 50), st.booleans())
def test_location_and_scale_of_an_instrument(
    seed: int, shift: float, scale: float, flip: bool
) -> None:
    """Neither matters to PLIV, nor to the strength of its first stage."""
    scale = -scale if flip else scale
    units = build(seed, Size(200, k=4))
    spec = instrumented()[1]
    moved = {**units.treatments, "v": scale * units.treatments["v"] + shift}
    found = []
    for each in (units, replace(units, treatments=moved)):
        _, sums = crossfit(each, (spec,))
        estimate = estimates(each, sums)[spec.effect_id]
        strength = findings(sums, "instrument_strength", spec)["first_stage_f"].value
        found.append((estimate.theta, estimate.se, strength))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


@pytest.mark.parametrize("clustered", [False, True])
def test_first_stage_f_by_hand(clustered: bool) -> None:
    """That of the regression of residuals on residuals, robust or clustered (statsmodels)."""
    import statsmodels.api as sm

    size = Size(240, k=3, clusters=48 if clustered else None)
    units, spec = build(107, size), instrumented()[1]
    work, sums = crossfit(units, (spec,))
    (fitted,) = predict(units, work)
    named = {name: fitted[target] for name, target in work.targets[spec.effect_id].items()}
    v = units.treatments["v"] - named["m"]
    e = units.treatments["t"] - named["r"]
    residuals = sm.OLS(e, v)
    if clustered:
        options = {"groups": units.cluster, "use_correction": True, "df_correction": False}
        model, factor = residuals.fit(cov_type="cluster", cov_kwds=options), 1.0
    else:  # units are clusters of one, with the factor n/(n-1) that HC0 leaves out
        model, factor = residuals.fit(cov_type="HC0"), (units.n - 1) / units.n
    found = findings(sums, "instrument_strength", spec)["first_stage_f"]
    assert found.value == pytest.approx(factor * model.tvalues[0] ** 2, rel=1e-8)
    assert found.detail["coefficient"] == pytest.approx(model.params[0], rel=1e-9)
    assert found.detail["instrument"] == "v"


def test_first_stage_does_not_grow_with_repetitions() -> None:
    once, often = build(108), build(108, Size(reps=4))
    *_, spec = instrumented()
    values = [
        findings(crossfit(each, (spec,))[1], "instrument_strength", spec)["first_stage_f"].value
        for each in (once, often)
    ]
    assert values[1] == pytest.approx(values[0], rel=0.2)


@pytest.mark.parametrize("method", ["pliv", "iivm"])
def test_an_instrument_that_all_follow_is_strong(method: str) -> None:
    """No noise of the first stage is left, which is no reason to call it weak."""
    units = build(110, Size(200))
    followed = replace(units, treatments={**units.treatments, "d": units.treatments["b"]})
    estimand = "slope" if method == "pliv" else "late"
    spec = effect(method, estimand, instrument="b")
    strength = findings(crossfit(followed, (spec,))[1], "instrument_strength", spec)
    value = strength["first_stage_f"].value
    assert value is not None
    assert np.isfinite(value)
    assert value > 1e6


@pytest.mark.parametrize("index", range(3))
def test_a_weak_instrument_fails_its_check(index: int) -> None:
    """A coin is no instrument; the real one is."""
    units, spec = build(109, Size(400)), instrumented()[index]
    rng = np.random.default_rng(0)
    coin = (rng.random(units.n) < 0.5).astype(np.float64)
    weak = replace(units, treatments={**units.treatments, spec.instrument: coin})
    strength = [
        findings(crossfit(each, (spec,))[1], "instrument_strength", spec)["first_stage_f"].value
        for each in (units, weak)
    ]
    assert strength[0] > 30
    assert strength[1] < 10


def test_one_sided_noncompliance() -> None:
    """Nobody is treated without the offer: a constant arm is no fault."""
    rng = np.random.default_rng(7)
    n = 3_000
    base = build(110, Size(n, k=3))
    x = base.design.values[:, 0]
    z = (rng.random(n) < 0.5).astype(np.float64)
    complier = rng.random(n) < expit(0.5 * x)
    d = z * complier
    y = x + 0.8 * d + complier + 0.3 * rng.standard_normal(n)
    units = from_arrays(base.design, {"d": d, "b": z}, {"y": y}, k=3)
    *_, spec = instrumented()
    found = run(units, spec)[spec.effect_id]
    assert found.error_code is None
    assert abs(found.theta - 0.8) < 4 * found.se
    assert found.se < 0.1


# --- known propensities ------------------------------------------------------------------------


def known(n: int = 400) -> tuple[Units, EffectSpec]:
    rng = np.random.default_rng(3)
    base = build(111, Size(n, k=4))
    p = np.where(base.design.values[:, 0] > 0, 0.7, 0.3)
    d = (rng.random(n) < p).astype(np.float64)
    y = base.design.values[:, 0] + 0.5 * d + rng.standard_normal(n)
    units = from_arrays(base.design, {"d": d}, {"y": y}, k=4)
    return replace(units, propensities={"p": p}), effect("irm", "ate", propensity="p")


def test_a_known_propensity_is_used_and_not_fitted() -> None:
    units, spec = known()
    work, sums = crossfit(units, (spec,))
    assert fits(work) == 2
    (scores,) = sums[0].scores
    (fitted,) = predict(units, work)
    named = {name: fitted[target] for name, target in work.targets[spec.effect_id].items()}
    named["m"] = units.propensities["p"]
    _, expected = score(spec, units.outcomes["y"], units.treatments["d"], named)
    assert scores.psi_b.tobytes() == expected.tobytes()
    quality = findings(sums, "nuisance_quality", spec)
    assert list(quality) == ["outcome_r2"]
    assert findings(sums, "overlap", spec)["clipped_share"].value == 0.0


@pytest.mark.parametrize("estimand", ["ate", "att", "atu", "ato"])
def test_known_propensities_recover_the_effect(estimand: str) -> None:
    units, _ = known(4_000)
    spec = effect("irm", estimand, propensity="p", outcome_learner={"learner": "constant"})
    found = run(units, spec)[spec.effect_id]
    assert abs(found.theta - 0.5) < 4 * found.se


def test_plr_takes_a_known_propensity_too() -> None:
    units, _ = known(4_000)
    spec = effect(propensity="p", outcome_learner={"learner": "constant"})
    work, sums = crossfit(units, (spec,))
    assert fits(work) == 1
    found = estimates(units, sums)[spec.effect_id]
    assert abs(found.theta - 0.5) < 4 * found.se


# --- what cannot be had ------------------------------------------------------------------------


def failed(units: Units, *specs: EffectSpec) -> dict[str, str]:
    return dict(plan(units, specs).failed)


def test_an_arm_of_too_few_units_fails_alone() -> None:
    units = build(112)
    rare = units.treatments["arm=c"].copy()
    rare[np.flatnonzero(rare)[3:]] = 0.0
    thin = replace(units, treatments={**units.treatments, "arm=c": rare})
    assert failed(thin, *MEANS, *PAIRS) == {
        "apo.mean.arm=c.y": "empty_arm",
        "apo.ate.arm=c.y": "empty_arm",
    }
    none = replace(units, treatments={**units.treatments, "arm=c": np.zeros(units.n)})
    assert failed(none, *MEANS) == {"apo.mean.arm=c.y": "empty_arm"}


def test_a_control_arm_that_is_missing_fails_every_contrast() -> None:
    units = build(113)
    none = replace(units, treatments={**units.treatments, "arm=a": np.zeros(units.n)})
    assert set(failed(none, *PAIRS).values()) == {"empty_arm"}


def test_constant_and_rare_instruments() -> None:
    units = build(114)
    constant = {**units.treatments, "b": np.ones(units.n), "v": np.full(units.n, 0.3)}
    found = failed(replace(units, treatments=constant), *instrumented())
    assert set(found.values()) == {"constant_instrument"}
    assert len(found) == 3
    rare = np.zeros(units.n)
    rare[:3] = 1.0
    found = failed(replace(units, treatments={**units.treatments, "b": rare}), *instrumented())
    assert found == {"pliv.slope.d.y": "empty_arm", "iivm.late.d.y": "empty_arm"}


def test_weights_of_k_copies_give_the_same_theta() -> None:
    """Sampling weights: k = 3 copies of every row in its fold, or weight 3."""
    units = build(115, Size(120, k=3))
    specs = (*MEANS, *PAIRS, *instrumented())
    rows = np.repeat(np.arange(units.n), 3)
    heavy = replace(units, weight=np.full(units.n, 3.0))
    learner = {"outcome_learner": LINEAR, "treatment_learner": LINEAR}
    chosen = tuple(replace(each, **learner) for each in specs)
    copies, weighted = run(take(units, rows), *chosen), run(heavy, *chosen)
    for spec in chosen:
        one, other = copies[spec.effect_id], weighted[spec.effect_id]
        assert one.theta == pytest.approx(other.theta, rel=1e-7)
        assert one.se == pytest.approx(other.se / np.sqrt(3.0), rel=1e-6)
